//! Checks every row of a data set once and writes its index.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::cell::{self, Row, find};
use super::example::{self, Place};
use super::index::{Entry, Index, IndexWriter};
use super::jsonl::{Line, Lines};
use super::layout::{self, EVAL, LAYOUT, Layout, SEEN, SeenFile, TRAIN, VERSION, file_error};
use super::parquet::ParquetFile;
use super::places::Places;
use super::rows::{Kind, kind, wanted};
use super::table::Table;
use super::tally::Tally;
use super::{array, found, parts};
use crate::data::{DataError, Example, RowSource, Split};
use crate::domain::dataset::{DatasetLimits, DatasetReport, DatasetSettings, PartCount};
use crate::domain::spec::Columns;

/// Index of all rows, before they are parted.
const ALL: &str = "all.idx";

/// Bytes of rows that any Parquet file may make.
const MOST_MADE: u64 = 4 << 30;
/// Bytes of rows that each byte of a Parquet file may make beyond that: dictionaries say things once.
const MADE_OF_ONE: u64 = 100;

/// What is to be checked.
#[derive(Debug)]
pub struct Preparing<'a> {
    /// The data set's name.
    pub name: &'a str,
    /// A folder, or one data file whose images lie in its folder.
    pub source: &'a Path,
    /// Do the files stay where they are? Then each is remembered, so that a change is noticed.
    pub stays: bool,
    /// How rows are read and parted.
    pub settings: &'a DatasetSettings,
    /// How large everything may be.
    pub limits: &'a DatasetLimits,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Counts, sizes and the first faults.
    pub report: DatasetReport,
    /// Rows to train on.
    pub train_rows: u64,
    /// Held-out rows.
    pub eval_rows: u64,
    /// Changes whenever a file or the parting of rows changes.
    pub fingerprint: String,
    /// The columns that rows were read with.
    pub columns: Columns,
}

impl Prepared {
    /// Can the data set be used?
    pub fn is_valid(&self) -> bool {
        self.report.errors.is_empty()
    }
}

/// Reads every row and writes the index into the folder `out`; without an index when the report names a fault. `watch` sees
/// every good row; where it returns false, everything ends with [`DataError::Stopped`].
pub fn prepare(
    what: &Preparing<'_>,
    out: &Path,
    watch: &mut dyn FnMut(&Example) -> bool,
) -> Result<Prepared, DataError> {
    std::fs::create_dir_all(out).map_err(|source| file_error(out, source))?;
    // An earlier description must not outlive the index that it describes.
    let description = out.join(LAYOUT);
    if description.exists() {
        std::fs::remove_file(&description).map_err(|e| file_error(&description, e))?;
    }
    let source = what.source.canonicalize().map_err(|e| file_error(what.source, e))?;
    let (root, mut data_files) = data_files(&source, what.limits)?;
    // Tables and arrays beside rows may be notes about them.
    let is_plain = |name: &str| matches!(kind(name), Kind::Parquet | Kind::Lines);
    if data_files.iter().any(|name| is_plain(name)) {
        data_files.retain(|name| is_plain(name) || found::asks(&root, name, &what.settings.columns, what.limits));
    }
    let names = found::names(&root, &data_files, what.limits);
    let columns = found::settle(&what.settings.columns, &names);
    let all = out.join(ALL);
    let writing = |e| file_error(&all, e);
    let seen = what.stays.then(|| File::create(out.join(SEEN)).map(BufWriter::new)).transpose().map_err(writing)?;
    let index = IndexWriter::create(&all).map_err(writing)?;
    let (hash, tally, places) = (Sha256::new(), Tally::default(), Places::new(&root));
    let columns = &columns;
    let mut pass = Pass { what, root: &root, places, columns, seen, index, hash, tally, held_out: 0, watch };
    for (number, name) in data_files.iter().enumerate() {
        pass.file(number as u64, name)?;
    }
    let Pass { seen, index, hash, tally, held_out, .. } = pass;
    if let Some(mut seen) = seen {
        seen.flush().map_err(writing)?;
    }
    index.finish().map_err(writing)?;
    let report = tally.report(&data_files, columns, &names);
    let fingerprint = fingerprint(hash, what.settings);
    let mut prepared = Prepared { report, train_rows: 0, eval_rows: 0, fingerprint, columns: columns.clone() };
    if !prepared.is_valid() {
        return Ok(prepared);
    }
    let parted = part(out, what.settings, held_out).map_err(writing)?;
    (prepared.train_rows, prepared.eval_rows) = (parted.train, parted.eval);
    prepared.report.rows_without_answer = parted.without_answer;
    let layout = Layout {
        version: VERSION,
        name: what.name.to_owned(),
        root: what.stays.then_some(root),
        settings: DatasetSettings { columns: columns.clone(), ..what.settings.clone() },
        limits: *what.limits,
        data_files,
        fingerprint: prepared.fingerprint.clone(),
    };
    let text = serde_json::to_string_pretty(&layout).unwrap_or_default();
    std::fs::write(&description, text).map_err(|e| file_error(&description, e))?;
    Ok(prepared)
}

/// The folder of the data set and its data files, relative to it and sorted.
fn data_files(source: &Path, limits: &DatasetLimits) -> Result<(PathBuf, Vec<String>), DataError> {
    if let (true, Some(parent), Some(name)) = (source.is_file(), source.parent(), source.file_name()) {
        return Ok((parent.to_owned(), vec![name.to_string_lossy().into_owned()]));
    }
    let (mut found, mut open, mut count) = (Vec::new(), vec![source.to_owned()], 0);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| file_error(&folder, e))? {
            let entry = entry.map_err(|e| file_error(&folder, e))?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().to_ascii_lowercase());
            // A link to a folder could lead in circles: links are followed for single images only.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !name.starts_with('.') {
                open.push(path);
                continue;
            }
            count += 1;
            if count > limits.files {
                let problem = format!("it holds more than {} files, which is the limit", limits.files);
                return Err(DataError::Archive { file: source.display().to_string(), problem });
            }
            if is_data(&name, &path) {
                found.push(path.strip_prefix(source).unwrap_or(&path).to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok((source.to_owned(), found))
}

/// Do rows stand in it? Of JSON only in arrays of objects and in lines: settings are JSON as well.
fn is_data(name: &str, path: &Path) -> bool {
    let kinds = [".jsonl", ".ndjson", ".parquet", ".tsv", ".csv"];
    let is_rows = |path: &Path| array::kind(path).is_ok_and(|kind| kind != array::Kind::Other);
    !name.starts_with('.')
        && (kinds.iter().any(|kind| name.ends_with(kind)) || (kind(name) == Kind::Array && is_rows(path)))
}

/// One walk over all rows.
struct Pass<'a> {
    what: &'a Preparing<'a>,
    root: &'a Path,
    places: Places,
    columns: &'a Columns,
    seen: Option<BufWriter<File>>,
    index: IndexWriter,
    hash: Sha256,
    tally: Tally,
    held_out: u64,
    watch: &'a mut dyn FnMut(&Example) -> bool,
}

impl<'a> Pass<'a> {
    fn file(&mut self, number: u64, name: &str) -> Result<(), DataError> {
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
                    self.tally.fault(name, None, "it is neither an array of objects nor an object a line".to_owned());
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
                self.tally.fault(name, None, error.to_string());
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
                    self.tally.fault(name, None, error.to_string());
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
                self.tally.fault(name, None, problem);
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
                                "its rows have more than {most} bytes, although the file has {on_disk}: a file repeats itself {MADE_OF_ONE} \
                                 times at most"
                            );
                            self.tally.fault(name, Some(first + inside), problem);
                            return Ok(());
                        }
                        let broken = row.is_err();
                        let entry = Entry { file: number, row: first + inside, at: group as u64, len: inside };
                        if !self.row(name, path, entry, row)? {
                            return Ok(());
                        }
                        // What follows damage is not what was written.
                        if broken {
                            break;
                        }
                        inside += 1;
                    }
                }
                Err(problem) => self.tally.fault(name, Some(first), problem),
            }
            first += file.group_rows(group);
        }
        Ok(())
    }

    /// Takes in a row; false where there are too many.
    fn row(&mut self, name: &str, path: &Path, entry: Entry, row: Result<Row, String>) -> Result<bool, DataError> {
        if self.tally.rows >= self.what.limits.rows {
            let problem = format!("there are more than {} rows, which is the limit", self.what.limits.rows);
            self.tally.fault(name, None, problem);
            return Ok(false);
        }
        self.tally.rows += 1;
        let checked = row.and_then(|row| {
            self.tally.sees(self.columns, |column| find(&row, column).is_some());
            let part = self.part_of(name, &row)?;
            self.example(path, &row).map(|(example, files)| (part, example, files))
        });
        let (part, mut example, files) = match checked {
            Ok(checked) => checked,
            Err(problem) => {
                self.tally.fault(name, Some(entry.row), problem);
                return Ok(true);
            }
        };
        for (path, sha256) in files {
            let inside = path.strip_prefix(self.root).unwrap_or(&path).to_string_lossy().into_owned();
            self.note(&inside, &path, sha256)?;
        }
        example.source = Some(RowSource { file: name.to_owned(), row: entry.row });
        self.tally.add(&example);
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
        let place = Place { places: &self.places, file: path, limits: self.what.limits };
        let mut files = Vec::new();
        let mut witness =
            |path: &Path, bytes: &[u8]| files.push((path.to_owned(), format!("{:x}", Sha256::digest(bytes))));
        let example = example::example(self.tally.rows - 1, row, self.columns, &place, &mut witness)?;
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

fn fingerprint(mut hash: Sha256, settings: &DatasetSettings) -> String {
    // What decides which row is where; the columns are the job's own.
    let parting = (VERSION, settings.split, &settings.split_column, settings.eval_share, settings.seed);
    hash.update(serde_json::to_string(&parting).unwrap_or_default());
    format!("{:x}", hash.finalize())
}

/// Rows of each part.
struct Parted {
    train: u64,
    eval: u64,
    without_answer: PartCount,
}

/// Writes one index for each part.
fn part(out: &Path, settings: &DatasetSettings, named_eval: u64) -> std::io::Result<Parted> {
    let all = Index::open(&out.join(ALL))?;
    let mut rule = parts::Rule::new(settings, all.len(), named_eval);
    let (mut train, mut eval) = (IndexWriter::create(&out.join(TRAIN))?, IndexWriter::create(&out.join(EVAL))?);
    let mut without_answer = PartCount::default();
    for position in 0..all.len() {
        let (entry, tag) = parts::untagged(all.get(position)?);
        let (index, without) = match rule.next(tag.part) {
            Split::Train => (&mut train, &mut without_answer.train),
            Split::Eval => (&mut eval, &mut without_answer.eval),
        };
        index.push(entry)?;
        *without += u64::from(tag.without_answer);
    }
    let rows = Parted { train: train.entries, eval: eval.entries, without_answer };
    train.finish()?;
    eval.finish()?;
    drop(all);
    std::fs::remove_file(out.join(ALL))?;
    Ok(rows)
}
