//! One walk over all rows of a data set: each is read, judged and taken into the index.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::cell::{self, Row, find};
use super::example;
use super::file_finder::{FileFinder, ImageContext};
use super::index::{Entry, IndexWriter};
use super::jsonl::{Line, Lines};
use super::layout::{self, ALL, SeenFile, file_error};
use super::parquet::ParquetFile;
use super::row_counts::RowCounts;
use super::row_reader::{Kind, kind, wanted};
use super::table::Table;
use super::{array, parts};
use crate::data::{DataError, Example, RowSource, Split};
use crate::domain::dataset::{DatasetLimits, DatasetSettings};
use crate::domain::spec::Columns;

/// Bytes of rows that any Parquet file may make.
const MOST_MADE: u64 = 4 << 30;
/// Bytes of rows that each byte of a Parquet file may make beyond that: dictionaries say things once.
const MADE_OF_ONE: u64 = 100;

/// What is to be checked.
#[derive(Debug)]
pub struct Preparing<'a> {
    /// The data set's name.
    pub name: &'a str,
    /// A folder, or one data file whose images are in its folder.
    pub source: &'a Path,
    /// Do the files stay where they are? Then each is remembered, so that a change is noticed.
    pub stays: bool,
    /// How rows are read and parted.
    pub settings: &'a DatasetSettings,
    /// How large everything may be.
    pub limits: &'a DatasetLimits,
}

/// One walk over all rows.
pub(super) struct Pass<'a> {
    pub(super) what: &'a Preparing<'a>,
    pub(super) root: &'a Path,
    pub(super) finder: FileFinder,
    pub(super) columns: &'a Columns,
    pub(super) seen: Option<BufWriter<File>>,
    pub(super) index: IndexWriter,
    pub(super) hash: Sha256,
    pub(super) counts: RowCounts,
    pub(super) held_out: u64,
    pub(super) watch: &'a mut dyn FnMut(&Example) -> bool,
}

impl<'a> Pass<'a> {
    /// Takes in every row of the data file `name`, the `number`-th of the data set.
    pub(super) fn file(&mut self, number: u64, name: &str) -> Result<(), DataError> {
        let path = self.root.join(name);
        let hash = layout::sha256(&path).map_err(|e| file_error(&path, e))?;
        self.note(name, &path, hash)?;
        match kind(name) {
            Kind::Parquet => self.parquet(number, name, &path),
            Kind::Table => self.table(number, name, &path),
            Kind::Lines => self.lines(number, name, &path),
            Kind::Array => match array::kind(&path).map_err(|e| file_error(&path, e))? {
                array::Kind::Array => self.array(number, name, &path),
                array::Kind::Lines => self.lines(number, name, &path),
                array::Kind::Other => {
                    self.counts.fault(name, None, "it is neither an array of objects nor an object a line".to_owned());
                    Ok(())
                }
            },
        }
    }

    /// Takes a file's content into the fingerprint, and remembers how the file looks.
    fn note(&mut self, name: &str, path: &Path, sha256: String) -> Result<(), DataError> {
        self.hash.update(format!("{name}\0{sha256}\n"));
        let Some(seen) = &mut self.seen else { return Ok(()) };
        SeenFile::note(path, sha256, seen).map_err(|e| file_error(path, e))
    }

    fn lines(&mut self, number: u64, name: &str, path: &Path) -> Result<(), DataError> {
        let wanted = self.wanted();
        let mut lines =
            Lines::open(path, self.what.limits.row_bytes, Some(&wanted)).map_err(|e| file_error(path, e))?;
        self.each(number, name, path, || lines.next())
    }

    fn array(&mut self, number: u64, name: &str, path: &Path) -> Result<(), DataError> {
        let (wanted, max) = (self.wanted(), self.what.limits.row_bytes);
        let mut elements = array::Elements::open(path, max, Some(&wanted)).map_err(|e| file_error(path, e))?;
        self.each(number, name, path, || elements.next())
    }

    fn table(&mut self, number: u64, name: &str, path: &Path) -> Result<(), DataError> {
        match Table::open(path, self.what.limits.row_bytes) {
            Ok(mut table) => self.each(number, name, path, || table.next()),
            Err(error) => {
                self.counts.fault(name, None, error.to_string());
                Ok(())
            }
        }
    }

    /// The columns that rows are read for.
    fn wanted(&self) -> Vec<&'a str> {
        wanted(self.columns, self.what.settings.split_column.as_deref())
    }

    /// Takes in the rows of a file that is found again by its bytes. A file that cannot be read on is a fault of it.
    fn each(
        &mut self,
        number: u64,
        name: &str,
        path: &Path,
        mut next: impl FnMut() -> std::io::Result<Option<(Line, Result<Row, String>)>>,
    ) -> Result<(), DataError> {
        loop {
            match next() {
                Ok(Some((line, row))) => {
                    let entry = Entry { file: number, row: line.number, at: line.offset, len: line.len };
                    if !self.row(name, path, entry, row)? {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) if error.get_ref().is_some() => {
                    self.counts.fault(name, None, error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(file_error(path, error)),
            }
        }
    }

    fn parquet(&mut self, number: u64, name: &str, path: &Path) -> Result<(), DataError> {
        let opened = ParquetFile::open(path, &self.wanted(), self.what.limits).and_then(|file| {
            let (known, prompt) = (file.columns(), &self.columns.prompt);
            if known.iter().any(|name| super::json::is_head(prompt, name)) {
                return Ok(file);
            }
            Err(example::missing(prompt, "prompt", known.iter().map(String::as_str)))
        });
        let file = match opened {
            Ok(file) => file,
            Err(problem) => {
                self.counts.fault(name, None, problem);
                return Ok(());
            }
        };
        let on_disk = path.metadata().map_err(|e| file_error(path, e))?.len();
        let (mut first, mut bytes, most) = (1, 0, MOST_MADE.saturating_add(on_disk.saturating_mul(MADE_OF_ONE)));
        for group in 0..file.groups() {
            match file.rows(group) {
                Ok(mut rows) => {
                    let mut inside = 0;
                    while let Some(row) = rows.next() {
                        bytes += row.as_ref().map_or(0, |row| cell::size(row) as u64);
                        if bytes > most {
                            let problem = format!(
                                "its rows have more than {most} bytes, although the file has {on_disk}: a file repeats \
                                 itself {MADE_OF_ONE} times at most"
                            );
                            self.counts.fault(name, Some(first + inside), problem);
                            self.counts.damage();
                            return Ok(());
                        }
                        let broken = row.is_err();
                        let entry = Entry { file: number, row: first + inside, at: group as u64, len: inside };
                        if !self.row(name, path, entry, row)? {
                            return Ok(());
                        }
                        // What follows damage is not what was written.
                        if broken {
                            self.counts.damage();
                            break;
                        }
                        inside += 1;
                    }
                }
                Err(problem) => {
                    self.counts.fault(name, Some(first), problem);
                    self.counts.damage();
                }
            }
            first += file.group_rows(group);
        }
        Ok(())
    }

    /// Takes in a row; false where there are too many.
    fn row(&mut self, name: &str, path: &Path, entry: Entry, row: Result<Row, String>) -> Result<bool, DataError> {
        if self.counts.rows >= self.what.limits.rows {
            let problem = format!("there are more than {} rows, which is the limit", self.what.limits.rows);
            self.counts.fault(name, None, problem);
            return Ok(false);
        }
        self.counts.rows += 1;
        let checked = row.and_then(|row| {
            self.counts.note_columns(self.columns, |column| find(&row, column).is_some());
            let part = self.part_of(name, &row)?;
            self.example(path, &row).map(|(example, files)| (part, example, files))
        });
        let (part, mut example, files) = match checked {
            Ok(checked) => checked,
            Err(problem) => {
                self.counts.fault(name, Some(entry.row), problem);
                return Ok(true);
            }
        };
        for (path, sha256) in files {
            let inside = path.strip_prefix(self.root).unwrap_or(&path).to_string_lossy().into_owned();
            self.note(&inside, &path, sha256)?;
        }
        example.source = Some(RowSource { file: name.to_owned(), row: entry.row });
        self.counts.add(&example);
        if !(self.watch)(&example) {
            return Err(DataError::Stopped);
        }
        self.held_out += u64::from(part == Some(Split::Eval));
        let tag = parts::Tag { part, without_answer: example.answers.is_empty() };
        self.index.push(parts::tagged(entry, tag)).map_err(|e| file_error(Path::new(ALL), e))?;
        Ok(true)
    }

    /// The example in a row, and the image files it was made from with their hashes.
    fn example(&self, path: &Path, row: &Row) -> Result<(Example, Vec<(PathBuf, String)>), String> {
        let context = ImageContext { finder: &self.finder, file: path, limits: self.what.limits };
        let mut files = Vec::new();
        let mut witness =
            |path: &Path, bytes: &[u8]| files.push((path.to_owned(), format!("{:x}", Sha256::digest(bytes))));
        let example = example::example(self.counts.rows - 1, row, self.columns, &context, &mut witness)?;
        Ok((example, files))
    }

    /// Which part a row belongs to by its column or its file's name.
    fn part_of(&self, file: &str, row: &Row) -> Result<Option<Split>, String> {
        let column = self.what.settings.split_column.as_deref();
        match column.and_then(|column| Some((column, find(row, column)?))) {
            Some((column, cell)) if !cell.is_blank() => parts::by_column(column, cell).map(Some),
            _ => Ok(parts::by_file_name(file)),
        }
    }
}
