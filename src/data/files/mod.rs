//! Data sets in files: JSON lines, JSON arrays, tables and Parquet, with images inside or in separate files.
//!
//! [`prepare`] reads every row once, checks it, and writes an index; [`FileDataset`] finds any row again through that
//! index. Neither holds more than one row in memory, and of Parquet the pages that it is in.

mod array;
mod cell;
mod column_names;
mod conversation;
mod example;
mod file_finder;
mod guard;
mod index;
mod json;
mod jsonl;
mod layout;
mod pages;
mod parquet;
mod parts;
mod pass;
mod paths;
mod pictures;
mod prepare;
mod row_counts;
mod row_reader;
mod spread;
mod table;
mod truths;
mod unpack;

use std::path::{Path, PathBuf};

pub use pass::Preparing;
pub use paths::relative;
pub use prepare::{Prepared, prepare};
pub use spread::SpreadCounter;
pub use unpack::{enough_room, unpack};

use self::file_finder::{FileFinder, ImageContext};
use self::index::Index;
use self::layout::{EVAL, Layout, TRAIN, file_error};
use self::row_reader::RowReader;
use super::{DataError, Dataset, Example, RowSource, Split};
use crate::domain::spec::Columns;

/// An indexed data set.
pub struct FileDataset {
    layout: Layout,
    root: PathBuf,
    finder: FileFinder,
    columns: Columns,
    train: Index,
    eval: Index,
    rows: RowReader,
}

impl FileDataset {
    /// Opens the data set that [`prepare`] indexed in `dir`; its rows are read with `columns`, and with those they were
    /// checked with for what keeps its default name. `Changed` when files that are kept elsewhere are no longer what
    /// they were.
    pub fn open(dir: &Path, columns: Option<&Columns>) -> Result<Self, DataError> {
        let layout = Layout::read(dir)?;
        // Files inside the folder belong to the program and never change.
        if layout.root.is_some() {
            layout::verify(dir, &layout.name)?;
        }
        let root = layout.root(dir)?;
        let checked = &layout.settings.columns;
        let columns = columns.map_or_else(|| checked.clone(), |columns| columns.or_found(checked));
        let open = |name: &str| Index::open(&dir.join(name)).map_err(|source| file_error(&dir.join(name), source));
        let (train, eval) = (open(TRAIN)?, open(EVAL)?);
        let rows = RowReader::new(&root, &layout.data_files, &columns, &layout.limits);
        let finder = FileFinder::new(&root);
        Ok(Self { layout, root, finder, columns, train, eval, rows })
    }

    /// The same data set, which has as many rows as its record says.
    ///
    /// # Errors
    /// `Asset` where its index is shorter or longer.
    pub fn with_rows(self, train: u64, eval: u64) -> Result<Self, DataError> {
        for (name, index, rows) in [(TRAIN, &self.train, train), (EVAL, &self.eval, eval)] {
            if index.len() != rows {
                let problem = format!("{name} has {} rows instead of {rows}: register the data set again", index.len());
                return Err(DataError::Asset { name: self.layout.name.clone(), problem });
            }
        }
        Ok(self)
    }

    fn index(&self, split: Split) -> &Index {
        match split {
            Split::Train => &self.train,
            Split::Eval => &self.eval,
        }
    }
}

impl Dataset for FileDataset {
    fn name(&self) -> &str {
        &self.layout.name
    }

    fn len(&self, split: Split) -> u64 {
        self.index(split).len()
    }

    fn example(&self, split: Split, index: u64) -> Result<Example, DataError> {
        let name = &self.layout.name;
        let fault = |place: String, problem: String| DataError::Row { dataset: name.clone(), place, problem };
        let unplaced = |problem: String| {
            let part = if split == Split::Train { "to train on" } else { "held out" };
            fault(format!("row {index} ({part}, from 0)"), problem)
        };
        let entries = self.index(split);
        if index >= entries.len() {
            return Err(unplaced(format!("is out of range: the split has {} rows", entries.len())));
        }
        let entry = entries.get(index).map_err(|e| unplaced(format!("cannot be found in the index: {e}")))?;
        let file = self.layout.data_files.get(entry.file as usize).cloned().unwrap_or_default();
        let source = RowSource { file, row: entry.row };
        let at = |problem: String| fault(source.to_string(), problem);
        let row = self.rows.read(&entry).map_err(at)?;
        let path = self.root.join(&source.file);
        let context = ImageContext { finder: &self.finder, file: &path, limits: &self.layout.limits };
        let example = example::example(index, &row, &self.columns, &context, &mut |_, _| ()).map_err(at)?;
        Ok(Example { source: Some(source), ..example })
    }

    fn fingerprint(&self) -> String {
        self.layout.fingerprint.clone()
    }
}
