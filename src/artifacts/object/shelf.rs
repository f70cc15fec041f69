//! What lies in the cache, who uses it, and what goes when there is more than may be: what nobody uses and nobody has
//! asked for the longest.
//!
//! Every artifact has a note. Whoever asks for an artifact holds its note by a shared lock, over all processes of the
//! machine; notes are read and changed behind a gate that one process passes at a time.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Stopwatch;

use super::super::ArtifactError;
use super::super::folder::io;

const NOTES: &str = ".notes";
const GATE: &str = "gate";
/// Folders on their way out; renamed first, so that nobody takes half of one for a whole one.
const GONE: &str = "gone-";

type Result<T> = std::result::Result<T, ArtifactError>;

/// Keeps account of the folders in a cache.
pub(super) struct Shelf {
    root: PathBuf,
    notes: PathBuf,
    /// Bytes that may lie here; 0: any number.
    limit: u64,
    held: Mutex<HashMap<String, Held>>,
}

/// What this process asked for, and when it did so last.
struct Held {
    asked: Stopwatch,
    _note: File,
}

/// What a note says.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The folder, inside the cache.
    folder: PathBuf,
    size_bytes: u64,
    /// Uses are numbered: clocks may stand still.
    use_number: u64,
}

impl Shelf {
    /// The shelf of the cache in `root`, which exists.
    pub(super) fn open(root: &Path, limit: u64) -> Result<Self> {
        let notes = root.join(NOTES);
        fs::create_dir_all(&notes).map_err(io("create", &notes))?;
        Ok(Self { root: root.to_path_buf(), notes, limit, held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate, passed; closed again when it is dropped.
    fn gate(&self) -> Result<File> {
        let path = self.notes.join(GATE);
        let gate = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let gate = gate.map_err(io("open", &path))?;
        gate.lock().map_err(io("lock", &path))?;
        Ok(gate)
    }

    /// Notes a use of a folder and, with `hold`, keeps it here until [`let_go`](Self::let_go).
    pub(super) fn note(&self, name: &str, folder: &Path, size_bytes: u64, hold: bool) -> Result<()> {
        let mut gate = self.gate()?;
        let path = self.notes.join(name);
        let use_number = next(&mut gate).map_err(io("number the use of", &path))?;
        let folder = folder.strip_prefix(&self.root).unwrap_or(folder).to_path_buf();
        let text = serde_json::to_vec(&Note { folder, size_bytes, use_number }).unwrap_or_default();
        fs::write(&path, text).map_err(io("write", &path))?;
        if hold {
            let note = File::open(&path).map_err(io("open", &path))?;
            note.lock_shared().map_err(io("lock", &path))?;
            self.held().insert(name.to_owned(), Held { asked: Stopwatch::start(), _note: note });
        }
        Ok(())
    }

    /// Holds nothing any more that was asked for longer ago than this.
    pub(super) fn let_go(&self, age: Duration) {
        self.held().retain(|_, held| held.asked.seconds() < age.as_secs_f64());
    }

    /// Removes what has to go. What cannot be removed now is tried again the next time.
    pub(super) fn trim(&self) -> Result<()> {
        if self.limit == 0 {
            return Ok(());
        }
        let _gate = self.gate()?;
        self.sweep()?;
        let mut notes = self.read()?;
        notes.sort_by_key(|(_, note)| note.use_number);
        let mut total: u64 = notes.iter().map(|(_, note)| note.size_bytes).sum();
        for (path, note) in notes {
            if total <= self.limit {
                break;
            }
            let held = File::open(&path).is_ok_and(|file| file.try_lock().is_err());
            if held {
                continue;
            }
            self.discard(&self.root.join(&note.folder))?;
            fs::remove_file(&path).map_err(io("remove", &path))?;
            total -= note.size_bytes;
            tracing::debug!(folder = %note.folder.display(), bytes = note.size_bytes, "removed from the cache");
        }
        Ok(())
    }

    /// Removes a folder; one that is absent is fine.
    pub(super) fn discard(&self, folder: &Path) -> Result<()> {
        let name = folder.strip_prefix(&self.root).unwrap_or(folder).to_string_lossy().replace('/', "-");
        let gone = self.notes.join(format!("{GONE}{name}"));
        match fs::rename(folder, &gone) {
            Ok(()) => fs::remove_dir_all(&gone).map_err(io("remove", &gone)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io("remove", folder)(error)),
        }
    }

    /// Removes what processes that died were removing.
    fn sweep(&self) -> Result<()> {
        for path in self.paths()? {
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn paths(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.notes).map_err(io("list", &self.notes))?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    }

    /// Every note whose folder is here; others, and what is no note, are removed unless somebody holds them.
    fn read(&self) -> Result<Vec<(PathBuf, Note)>> {
        let mut notes = Vec::new();
        for path in self.paths()?.into_iter().filter(|path| !path.ends_with(GATE)) {
            let note = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
            match note {
                Some(note) if self.root.join(&note.folder).is_dir() => notes.push((path, note)),
                _ if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) => {
                    fs::remove_file(&path).map_err(io("remove", &path))?;
                }
                _ => {}
            }
        }
        Ok(notes)
    }
}

/// The next number of a use; the gate's file holds the last one.
fn next(gate: &mut File) -> std::io::Result<u64> {
    let mut text = String::new();
    gate.read_to_string(&mut text)?;
    let number = text.trim().parse::<u64>().unwrap_or_default() + 1;
    gate.rewind()?;
    gate.write_all(format!("{number:020}").as_bytes())?;
    Ok(number)
}
