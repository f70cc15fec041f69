//! Checks every row of a data set once and writes its index.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::file_finder::FileFinder;
use super::index::{Index, IndexWriter};
use super::layout::{ALL, EVAL, LAYOUT, Layout, SEEN, TRAIN, VERSION, file_error};
use super::pass::{Pass, Preparing};
use super::row_counts::RowCounts;
use super::row_reader::{Kind, kind};
use super::{array, column_names, parts};
use crate::data::{DataError, Example, Split};
use crate::domain::dataset::{BadRows, DatasetLimits, DatasetReport, DatasetSettings, PartCount};
use crate::domain::spec::Columns;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Counts, sizes and the first faults.
    pub report: DatasetReport,
    /// Training rows.
    pub train_rows: u64,
    /// Held-out rows.
    pub eval_rows: u64,
    /// Changes whenever a file or the parting of rows changes.
    pub fingerprint: String,
    /// The columns that rows were read with.
    pub columns: Columns,
    valid: bool,
}

impl Prepared {
    /// Can the data set be used?
    pub fn is_valid(&self) -> bool {
        self.valid
    }
}

/// Reads every row and writes the index into the folder `out`; without an index when the report names a fault. `watch`
/// sees every good row; where it returns false, everything ends with [`DataError::Stopped`].
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
    // Tables and arrays next to rows may be notes about them.
    let is_plain = |name: &str| matches!(kind(name), Kind::Parquet | Kind::Lines);
    if data_files.iter().any(|name| is_plain(name)) {
        data_files
            .retain(|name| is_plain(name) || column_names::asks(&root, name, &what.settings.columns, what.limits));
    }
    let names = column_names::names(&root, &data_files, what.limits);
    let columns = column_names::settle(&what.settings.columns, &names);
    let all = out.join(ALL);
    let writing = |e| file_error(&all, e);
    let seen = what.stays.then(|| File::create(out.join(SEEN)).map(BufWriter::new)).transpose().map_err(writing)?;
    let index = IndexWriter::create(&all).map_err(writing)?;
    let (hash, counts, finder) = (Sha256::new(), RowCounts::default(), FileFinder::new(&root));
    let columns = &columns;
    let mut pass = Pass { what, root: &root, finder, columns, seen, index, hash, counts, held_out: 0, watch };
    for (number, name) in data_files.iter().enumerate() {
        pass.file(number as u64, name)?;
    }
    let Pass { seen, index, hash, counts, held_out, .. } = pass;
    if let Some(mut seen) = seen {
        seen.flush().map_err(writing)?;
    }
    index.finish().map_err(writing)?;
    let (report, valid) = counts.report(&data_files, columns, &names, what.settings.bad_rows);
    let fingerprint = fingerprint(hash, what.settings);
    let mut prepared = Prepared { report, train_rows: 0, eval_rows: 0, fingerprint, columns: columns.clone(), valid };
    if !valid {
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
    let (mut files, mut open, mut count) = (Vec::new(), vec![source.to_owned()], 0);
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
                files.push(path.strip_prefix(source).unwrap_or(&path).to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    Ok((source.to_owned(), files))
}

/// Does it contain rows? JSON must be an array of objects or lines, because settings are JSON as well.
fn is_data(name: &str, path: &Path) -> bool {
    let kinds = [".jsonl", ".ndjson", ".parquet", ".tsv", ".csv"];
    let is_rows = |path: &Path| array::kind(path).is_ok_and(|kind| kind != array::Kind::Other);
    !name.starts_with('.')
        && (kinds.iter().any(|kind| name.ends_with(kind)) || (kind(name) == Kind::Array && is_rows(path)))
}

fn fingerprint(mut hash: Sha256, settings: &DatasetSettings) -> String {
    // What decides which row is where; the columns are the job's own.
    let parting = (VERSION, settings.split, &settings.split_column, settings.eval_share, settings.seed);
    hash.update(serde_json::to_string(&parting).unwrap_or_default());
    if settings.bad_rows == BadRows::LeaveOut {
        hash.update("bad rows are left out");
    }
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
