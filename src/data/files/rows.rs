//! Rows found again by their index entries, with a small cache for Parquet.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cell::Row;
use super::index::Entry;
use super::jsonl::{self, Line};
use super::parquet::ParquetFile;
use crate::domain::dataset::DatasetLimits;
use crate::domain::spec::Columns;

/// Parquet files that stay open.
const OPEN_FILES: usize = 4;
/// Row groups that stay decoded.
const GROUPS: usize = 2;

/// Is it a data file, and of which kind?
pub(super) fn is_parquet(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".parquet")
}

/// The columns that rows are read for.
pub(super) fn wanted<'a>(columns: &'a Columns, split: Option<&'a str>) -> Vec<&'a str> {
    let named = [columns.demonstration.as_deref(), columns.tags.as_deref(), split];
    let always = [columns.prompt.as_str(), columns.answer.as_str(), columns.images.as_str()];
    always.into_iter().chain(named.into_iter().flatten()).collect()
}

/// Reads rows anywhere in a data set.
pub(super) struct RowReader {
    root: PathBuf,
    files: Vec<String>,
    columns: Columns,
    max_group_bytes: u64,
    cache: Mutex<Cache>,
}

/// Number of the file, and of the row group in it.
type GroupKey = (u64, u64);

/// The most recently used last.
#[derive(Default)]
struct Cache {
    files: Vec<(u64, Arc<ParquetFile>)>,
    groups: Vec<(GroupKey, Arc<Vec<Row>>)>,
}

impl RowReader {
    /// A reader of the data files `files` in `root`.
    pub(super) fn new(root: &Path, files: &[String], columns: &Columns, limits: &DatasetLimits) -> Self {
        Self {
            root: root.to_owned(),
            files: files.to_vec(),
            columns: columns.clone(),
            max_group_bytes: limits.row_group_bytes,
            cache: Mutex::new(Cache::default()),
        }
    }

    /// The row at `entry`.
    pub(super) fn read(&self, entry: &Entry) -> Result<Row, String> {
        let name = self.files.get(entry.file as usize).ok_or_else(|| "the index names no file".to_owned())?;
        if !is_parquet(name) {
            return jsonl::read(&self.root.join(name), Line { number: entry.row, offset: entry.at, len: entry.len });
        }
        let group = self.group(entry.file, name, entry.at)?;
        group.get(entry.len as usize).cloned().ok_or_else(|| "its row group has fewer rows than it had".to_owned())
    }

    fn group(&self, file: u64, name: &str, group: u64) -> Result<Arc<Vec<Row>>, String> {
        // Held while decoding: a file handle has one position, and whoever else wants the group gains nothing by decoding
        // it a second time.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let Cache { files, groups } = &mut *cache;
        remembered(groups, GROUPS, (file, group), || {
            let open = || {
                let wanted = wanted(&self.columns, None);
                ParquetFile::open(&self.root.join(name), &wanted, self.max_group_bytes).map(Arc::new)
            };
            let opened = remembered(files, OPEN_FILES, file, open)?;
            opened.read_group(group as usize).map(Arc::new)
        })
    }
}

/// The value kept under `key`, made when there is none; at most `most` are kept.
fn remembered<K: PartialEq, V: Clone>(
    kept: &mut Vec<(K, V)>,
    most: usize,
    key: K,
    make: impl FnOnce() -> Result<V, String>,
) -> Result<V, String> {
    let entry = if let Some(position) = kept.iter().position(|(known, _)| *known == key) {
        kept.remove(position)
    } else {
        // Room first: a row group may be large.
        if kept.len() >= most {
            kept.remove(0);
        }
        (key, make()?)
    };
    let value = entry.1.clone();
    kept.push(entry);
    Ok(value)
}
