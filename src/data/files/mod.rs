//! Data sets in files: JSON lines and Parquet, with images inside or beside them.
//!
//! [`prepare`] reads every row once, checks it, and writes an index; [`FileDataset`] finds any row again through that index.
//! Neither holds more than one row, or two row groups of Parquet, in memory.

mod cell;
mod example;
mod index;
mod jsonl;
mod layout;
mod parquet;
mod parts;
mod paths;
mod prepare;
mod rows;
mod spread;
mod tally;
mod unpack;

use std::path::{Path, PathBuf};

pub use paths::relative;
pub use prepare::{Prepared, Preparing, prepare};
pub use spread::SpreadCounter;
pub use unpack::unpack;

use self::example::Place;
use self::index::Index;
use self::layout::{EVAL, Layout, TRAIN, file_error};
use self::rows::RowReader;
use super::{DataError, Dataset, Example, Split};
use crate::domain::spec::Columns;
use crate::images::ImageLimits;

/// An indexed data set.
pub struct FileDataset {
    layout: Layout,
    root: PathBuf,
    columns: Columns,
    train: Index,
    eval: Index,
    rows: RowReader,
}

impl FileDataset {
    /// Opens the data set that [`prepare`] indexed in `dir`; its rows are read with `columns`, or with those they were
    /// checked with. `Changed` when files that are kept elsewhere are no longer what they were.
    pub fn open(dir: &Path, columns: Option<&Columns>) -> Result<Self, DataError> {
        let layout = Layout::read(dir)?;
        // Files inside the folder belong to the program and never change.
        if layout.root.is_some() {
            layout::verify(dir, &layout.name)?;
        }
        let root = layout.root(dir)?;
        let columns = columns.cloned().unwrap_or_else(|| layout.settings.columns.clone());
        let open = |name: &str| Index::open(&dir.join(name)).map_err(|source| file_error(&dir.join(name), source));
        let (train, eval) = (open(TRAIN)?, open(EVAL)?);
        let rows = RowReader::new(&root, &layout.data_files, &columns, &layout.limits);
        Ok(Self { layout, root, columns, train, eval, rows })
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
        let fault = |problem: String| DataError::Row { dataset: self.layout.name.clone(), row: index, problem };
        let entries = self.index(split);
        if index >= entries.len() {
            return Err(fault(format!("is out of range: the split has {} rows", entries.len())));
        }
        let entry = entries.get(index).map_err(|e| fault(format!("cannot be found in the index: {e}")))?;
        let file = self.layout.data_files.get(entry.file as usize).map_or("", String::as_str);
        let at = |problem: String| fault(format!("{file}, row {}: {problem}", entry.row));
        let row = self.rows.read(&entry).map_err(at)?;
        let path = self.root.join(file);
        let place = Place { root: &self.root, file: &path, limits: image_limits(&self.layout.limits) };
        example::example(index, &row, &self.columns, &place, &mut |_, _| ()).map_err(at)
    }

    fn fingerprint(&self) -> String {
        self.layout.fingerprint.clone()
    }
}

fn image_limits(limits: &crate::domain::dataset::DatasetLimits) -> ImageLimits {
    ImageLimits { max_bytes: limits.image_bytes as usize, max_pixels: limits.image_pixels }
}
