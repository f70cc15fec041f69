//! Rows found again by their index entries, with a small cache for Parquet.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::cell::{Row, size};
use super::index::Entry;
use super::jsonl::{self, Line};
use super::parquet::{ParquetFile, Rows};
use super::table;
use crate::domain::dataset::DatasetLimits;
use crate::domain::spec::Columns;

/// Parquet files that stay open.
const OPEN_FILES: usize = 4;
/// Row groups of which rows stay decoded.
const GROUPS: usize = 2;
/// Bytes of one group's rows that stay decoded.
const GROUP_BYTES: usize = 64 << 20;

/// How the rows of a data file are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Parquet,
    /// An object a line.
    Lines,
    /// An array of objects.
    Array,
    /// Values between tabs or commas.
    Table,
}

/// The kind of a data file by its name.
pub(super) fn kind(name: &str) -> Kind {
    let name = name.to_ascii_lowercase();
    let ends = |end: &str| name.ends_with(end);
    if ends(".parquet") {
        Kind::Parquet
    } else if ends(".json") {
        Kind::Array
    } else if ends(".tsv") || ends(".csv") {
        Kind::Table
    } else {
        Kind::Lines
    }
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
    limits: DatasetLimits,
    cache: Mutex<Cache>,
}

/// Number of the file, and of the row group in it.
type GroupKey = (u64, u64);

/// The most recently used last.
#[derive(Default)]
struct Cache {
    files: Vec<(u64, Arc<ParquetFile>)>,
    groups: Vec<(GroupKey, Group)>,
}

/// Rows of a group that follow each other, and the reader of those that follow them.
struct Group {
    /// Number of the first row that is kept.
    first: u64,
    kept: VecDeque<(Arc<Row>, usize)>,
    bytes: usize,
    /// None at the end of the group.
    rest: Option<Rows>,
}

impl Group {
    fn new(rows: Rows) -> Self {
        Self { first: 0, kept: VecDeque::new(), bytes: 0, rest: Some(rows) }
    }

    /// The row with this number; none where it was passed and is no longer kept.
    fn row(&mut self, number: u64) -> Option<Result<Arc<Row>, String>> {
        let mut at = number.checked_sub(self.first)?;
        while at >= self.kept.len() as u64 {
            if let Err(problem) = self.read_one() {
                return Some(Err(problem));
            }
            at = number.checked_sub(self.first)?;
        }
        let row = Arc::clone(&self.kept.get(at as usize)?.0);
        // The rest of a small group is wanted sooner or later.
        while self.rest.is_some() && self.bytes < GROUP_BYTES / 2 && self.read_one().is_ok() {}
        Some(Ok(row))
    }

    fn read_one(&mut self) -> Result<(), String> {
        let next = self.rest.as_mut().and_then(Rows::next);
        let Some(row) = next else {
            self.rest = None;
            return Err("its row group has fewer rows than it had".to_owned());
        };
        let row = row.inspect_err(|_| self.rest = None)?;
        let bytes = size(&row);
        self.bytes += bytes;
        self.kept.push_back((Arc::new(row), bytes));
        while self.bytes > GROUP_BYTES && self.kept.len() > 1 {
            let (_, bytes) = self.kept.pop_front().unwrap_or_default();
            self.bytes -= bytes;
            self.first += 1;
        }
        Ok(())
    }
}

impl RowReader {
    /// A reader of the data files `files` in `root`.
    pub(super) fn new(root: &Path, files: &[String], columns: &Columns, limits: &DatasetLimits) -> Self {
        Self {
            root: root.to_owned(),
            files: files.to_vec(),
            columns: columns.clone(),
            limits: *limits,
            cache: Mutex::new(Cache::default()),
        }
    }

    /// The row at `entry`.
    pub(super) fn read(&self, entry: &Entry) -> Result<Arc<Row>, String> {
        let name = self.files.get(entry.file as usize).ok_or_else(|| "the index names no file".to_owned())?;
        let path = self.root.join(name);
        let line = Line { number: entry.row, offset: entry.at, len: entry.len };
        match kind(name) {
            Kind::Parquet => self.of_group(entry, &path),
            Kind::Lines | Kind::Array => jsonl::read(&path, line, &wanted(&self.columns, None)).map(Arc::new),
            Kind::Table => table::read(&path, line, self.limits.row_bytes).map(Arc::new),
        }
    }

    /// A row of Parquet. A group whose rows were passed is read from its beginning again.
    fn of_group(&self, entry: &Entry, path: &Path) -> Result<Arc<Row>, String> {
        // Locked while decoding, so that a group is not decoded twice.
        let mut cache = self.cache.lock();
        let Cache { files, groups } = &mut *cache;
        let key = (entry.file, entry.at);
        if let Some(at) = groups.iter().position(|(known, _)| *known == key) {
            let mut group = groups.remove(at);
            if let Some(row) = group.1.row(entry.len) {
                groups.push(group);
                return row;
            }
        }
        // Room first: rows may be large.
        if groups.len() >= GROUPS {
            groups.remove(0);
        }
        let open = || ParquetFile::open(path, &wanted(&self.columns, None), &self.limits).map(Arc::new);
        let file = remembered(files, OPEN_FILES, entry.file, open)?;
        let mut group = Group::new(file.rows(entry.at as usize)?);
        let row = group.row(entry.len).unwrap_or_else(|| Err("its row group has fewer rows than it had".to_owned()));
        groups.push((key, group));
        row
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
        if kept.len() >= most {
            kept.remove(0);
        }
        (key, make()?)
    };
    let value = entry.1.clone();
    kept.push(entry);
    Ok(value)
}
