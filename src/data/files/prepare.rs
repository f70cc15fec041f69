//! Checks every row of a data set once and writes its index.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::cell::{Cell, Row, find};
use super::example::{self, Place};
use super::index::{Entry, Index, IndexWriter};
use super::jsonl::Lines;
use super::layout::{self, EVAL, LAYOUT, Layout, SEEN, SeenFile, TRAIN, VERSION, file_error};
use super::parquet::ParquetFile;
use super::rows::{is_parquet, wanted};
use super::tally::Tally;
use super::{image_limits, parts};
use crate::data::{DataError, Example, Split};
use crate::domain::dataset::{DatasetLimits, DatasetReport, DatasetSettings};

/// Index of all rows, before they are parted.
const ALL: &str = "all.idx";

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
    let (root, data_files) = data_files(&source, what.limits)?;
    let all = out.join(ALL);
    let writing = |e| file_error(&all, e);
    let seen = what.stays.then(|| File::create(out.join(SEEN)).map(BufWriter::new)).transpose().map_err(writing)?;
    let index = IndexWriter::create(&all).map_err(writing)?;
    let mut pass =
        Pass { what, root: &root, seen, index, hash: Sha256::new(), tally: Tally::default(), held_out: 0, watch };
    for (number, name) in data_files.iter().enumerate() {
        pass.file(number as u64, name)?;
    }
    let Pass { seen, index, hash, tally, held_out, .. } = pass;
    if let Some(mut seen) = seen {
        seen.flush().map_err(writing)?;
    }
    index.finish().map_err(writing)?;
    let report = tally.report(&data_files);
    let fingerprint = fingerprint(hash, what.settings);
    if !report.errors.is_empty() {
        return Ok(Prepared { report, train_rows: 0, eval_rows: 0, fingerprint });
    }
    let (train_rows, eval_rows) = part(out, what.settings, held_out).map_err(writing)?;
    let layout = Layout {
        version: VERSION,
        name: what.name.to_owned(),
        root: what.stays.then_some(root),
        settings: what.settings.clone(),
        limits: *what.limits,
        data_files,
        fingerprint: fingerprint.clone(),
    };
    let text = serde_json::to_string_pretty(&layout).unwrap_or_default();
    std::fs::write(&description, text).map_err(|e| file_error(&description, e))?;
    Ok(Prepared { report, train_rows, eval_rows, fingerprint })
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
            let kinds = [".jsonl", ".ndjson", ".parquet"];
            if kinds.iter().any(|kind| name.ends_with(kind)) && !name.starts_with('.') {
                found.push(path.strip_prefix(source).unwrap_or(&path).to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok((source.to_owned(), found))
}

/// One walk over all rows.
struct Pass<'a> {
    what: &'a Preparing<'a>,
    root: &'a Path,
    seen: Option<BufWriter<File>>,
    index: IndexWriter,
    hash: Sha256,
    tally: Tally,
    held_out: u64,
    watch: &'a mut dyn FnMut(&Example) -> bool,
}

impl Pass<'_> {
    fn file(&mut self, number: u64, name: &str) -> Result<(), DataError> {
        let path = self.root.join(name);
        let hash = layout::sha256(&path).map_err(|e| file_error(&path, e))?;
        self.note(name, &path, hash)?;
        if is_parquet(name) { self.parquet(number, name, &path) } else { self.jsonl(number, name, &path) }
    }

    /// Takes a file's content into the fingerprint, and remembers how the file looks.
    fn note(&mut self, name: &str, path: &Path, sha256: String) -> Result<(), DataError> {
        self.hash.update(format!("{name}\0{sha256}\n"));
        let Some(seen) = &mut self.seen else { return Ok(()) };
        SeenFile::note(path, sha256, seen).map_err(|e| file_error(path, e))
    }

    fn jsonl(&mut self, number: u64, name: &str, path: &Path) -> Result<(), DataError> {
        let mut lines = Lines::open(path, self.what.limits.row_bytes).map_err(|e| file_error(path, e))?;
        while let Some((line, row)) = lines.next().map_err(|e| file_error(path, e))? {
            let entry = Entry { file: number, row: line.number, at: line.offset, len: line.len };
            self.row(name, path, entry, row)?;
        }
        Ok(())
    }

    fn parquet(&mut self, number: u64, name: &str, path: &Path) -> Result<(), DataError> {
        let settings = self.what.settings;
        let columns = wanted(&settings.columns, settings.split_column.as_deref());
        let opened = ParquetFile::open(path, &columns, self.what.limits.row_group_bytes).and_then(|file| {
            let known = file.columns();
            let prompt = &settings.columns.prompt;
            if known.contains(prompt) {
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
        let mut first = 1;
        for group in 0..file.groups() {
            match file.read_group(group) {
                Ok(rows) => {
                    for (inside, row) in rows.into_iter().enumerate() {
                        let inside = inside as u64;
                        let entry = Entry { file: number, row: first + inside, at: group as u64, len: inside };
                        self.row(name, path, entry, Ok(row))?;
                    }
                }
                Err(problem) => self.tally.fault(name, Some(first), problem),
            }
            first += file.group_rows(group);
        }
        Ok(())
    }

    fn row(&mut self, name: &str, path: &Path, entry: Entry, row: Result<Row, String>) -> Result<(), DataError> {
        self.tally.rows += 1;
        let checked = row.and_then(|row| {
            let part = self.part_of(name, &row)?;
            self.example(path, &row).map(|(example, files)| (part, example, files))
        });
        let (part, example, files) = match checked {
            Ok(checked) => checked,
            Err(problem) => {
                self.tally.fault(name, Some(entry.row), problem);
                return Ok(());
            }
        };
        for (path, sha256) in files {
            let inside = path.strip_prefix(self.root).unwrap_or(&path).to_string_lossy().into_owned();
            self.note(&inside, &path, sha256)?;
        }
        self.tally.add(&example);
        if !(self.watch)(&example) {
            return Err(DataError::Stopped);
        }
        self.held_out += u64::from(part == Some(Split::Eval));
        self.index.push(parts::tagged(entry, part)).map_err(|e| file_error(Path::new(ALL), e))
    }

    /// The example in a row, and the image files it was made from with their hashes.
    fn example(&self, path: &Path, row: &Row) -> Result<(Example, Vec<(PathBuf, String)>), String> {
        let place = Place { root: self.root, file: path, limits: image_limits(self.what.limits) };
        let mut files = Vec::new();
        let mut witness =
            |path: &Path, bytes: &[u8]| files.push((path.to_owned(), format!("{:x}", Sha256::digest(bytes))));
        let columns = &self.what.settings.columns;
        let example = example::example(self.tally.rows - 1, row, columns, &place, &mut witness)?;
        Ok((example, files))
    }

    /// Which part a row belongs to by its column or its file's name.
    fn part_of(&self, file: &str, row: &Row) -> Result<Option<Split>, String> {
        let column = self.what.settings.split_column.as_deref();
        match column.and_then(|column| Some((column, find(row, column)?))) {
            None | Some((_, Cell::Null)) => Ok(parts::by_file_name(file)),
            Some((column, cell)) => parts::by_column(column, cell).map(Some),
        }
    }
}

fn fingerprint(mut hash: Sha256, settings: &DatasetSettings) -> String {
    // What decides which row is where; the columns are the job's own.
    let parting = (VERSION, settings.split, &settings.split_column, settings.eval_share, settings.seed);
    hash.update(serde_json::to_string(&parting).unwrap_or_default());
    format!("{:x}", hash.finalize())
}

/// Writes one index for each part; rows of each.
fn part(out: &Path, settings: &DatasetSettings, named_eval: u64) -> std::io::Result<(u64, u64)> {
    let all = Index::open(&out.join(ALL))?;
    let mut rule = parts::Rule::new(settings, all.len(), named_eval);
    let (mut train, mut eval) = (IndexWriter::create(&out.join(TRAIN))?, IndexWriter::create(&out.join(EVAL))?);
    for position in 0..all.len() {
        let (entry, named) = parts::untagged(all.get(position)?);
        match rule.next(named) {
            Split::Train => train.push(entry)?,
            Split::Eval => eval.push(entry)?,
        }
    }
    let rows = (train.entries, eval.entries);
    train.finish()?;
    eval.finish()?;
    drop(all);
    std::fs::remove_file(out.join(ALL))?;
    Ok(rows)
}
