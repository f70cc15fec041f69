//! The description stored with an indexed data set: its settings, its data files, and the state of every file.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::data::DataError;
use crate::domain::dataset::{DatasetLimits, DatasetSettings};

/// Index of all rows, before they are parted.
pub(super) const ALL: &str = "all.idx";
/// The file that describes an indexed data set; it is written last.
pub(super) const LAYOUT: &str = "dataset.json";
/// One line for every file that rows come from.
pub(super) const SEEN: &str = "files.jsonl";
/// The data set's own files, where they are kept with it.
pub(super) const FILES: &str = "files";
/// Index of the rows to train on.
pub(super) const TRAIN: &str = "train.idx";
/// Index of the held-out rows.
pub(super) const EVAL: &str = "eval.idx";
/// Raised when rows are read in another way: 2 lays transparent images on white.
pub(super) const VERSION: u32 = 2;
/// The oldest that can be read.
const OLDEST: u32 = 1;

/// An indexed data set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layout {
    pub(super) version: u32,
    /// Its name when it was registered.
    pub(super) name: String,
    /// The folder of its files; none: `files` next to this description.
    pub(super) root: Option<PathBuf>,
    pub(super) settings: DatasetSettings,
    pub(super) limits: DatasetLimits,
    /// Data files, relative to the folder, sorted.
    pub(super) data_files: Vec<String>,
    pub(super) fingerprint: String,
}

impl Layout {
    /// Reads the description of the data set indexed in `dir`.
    pub(super) fn read(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join(LAYOUT);
        let text = std::fs::read_to_string(&path).map_err(|source| file_error(&path, source))?;
        let damaged = |problem: String| DataError::Asset { name: path.display().to_string(), problem };
        let layout: Self = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if !(OLDEST..=VERSION).contains(&layout.version) {
            return Err(damaged(format!(
                "has version {}; this program reads {OLDEST} to {VERSION}: register it again",
                layout.version
            )));
        }
        Ok(layout)
    }

    /// The folder of the data set's files, canonical.
    pub(super) fn root(&self, dir: &Path) -> Result<PathBuf, DataError> {
        let root = self.root.clone().unwrap_or_else(|| dir.join(FILES));
        root.canonicalize().map_err(|source| file_error(&root, source))
    }
}

/// A file as it was when its rows were checked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SeenFile {
    path: PathBuf,
    bytes: u64,
    /// Modification time in nanoseconds since 1970; 0 where the file system has none.
    modified: u64,
    sha256: String,
}

impl SeenFile {
    /// Notes a file whose content hashes to `sha256`.
    pub(super) fn note(path: &Path, sha256: String, out: &mut impl Write) -> std::io::Result<()> {
        let meta = path.metadata()?;
        let seen = Self { path: path.to_owned(), bytes: meta.len(), modified: modified(&meta), sha256 };
        serde_json::to_writer(&mut *out, &seen)?;
        out.write_all(b"\n")
    }
}

fn modified(meta: &std::fs::Metadata) -> u64 {
    let since = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Fails when a file of the data set in `dir` has changed since its rows were checked. Files with the same size and
/// time are taken for unchanged, others are read again.
pub(super) fn verify(dir: &Path, name: &str) -> Result<(), DataError> {
    let path = dir.join(SEEN);
    let lines = BufReader::new(File::open(&path).map_err(|source| file_error(&path, source))?).lines();
    for line in lines {
        let line = line.map_err(|source| file_error(&path, source))?;
        let seen: SeenFile = serde_json::from_str(&line)
            .map_err(|e| DataError::Asset { name: path.display().to_string(), problem: e.to_string() })?;
        let changed = |problem: String| DataError::Changed {
            dataset: name.to_owned(),
            file: seen.path.display().to_string(),
            problem,
        };
        let meta = seen.path.metadata().map_err(|e| changed(format!("it cannot be read any more: {e}")))?;
        if meta.len() != seen.bytes {
            return Err(changed(format!("it has {} bytes instead of {}", meta.len(), seen.bytes)));
        }
        if (seen.modified == 0 || modified(&meta) != seen.modified)
            && sha256(&seen.path).map_err(|source| file_error(&seen.path, source))? != seen.sha256
        {
            return Err(changed("it has another content".to_owned()));
        }
    }
    Ok(())
}

/// Hash of a file's content.
pub(super) fn sha256(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 18]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(format!("{:x}", hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

/// Puts a path to an I/O error.
pub(super) fn file_error(path: &Path, source: std::io::Error) -> DataError {
    DataError::File { path: path.display().to_string(), source }
}
