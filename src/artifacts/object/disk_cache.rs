//! Entries of the disk cache, their users, and eviction: the least recently used folders that are not in use go first.
//!
//! Every artifact has an entry file. Processes that use an artifact hold a shared lock on its entry; entries are read
//! and changed under a lock that only one process of the machine holds at a time.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use crate::clock::Stopwatch;

use super::super::ArtifactError;
use super::super::folder::io;

const ENTRIES: &str = ".notes";
const GATE: &str = "gate";
/// Prefix of folders that are being removed; they are renamed first, so that a partial folder is never mistaken for a
/// complete one.
const GONE: &str = "gone-";

type Result<T> = std::result::Result<T, ArtifactError>;

/// The entries of a cache's folders.
pub(super) struct DiskCache {
    root: PathBuf,
    entries: PathBuf,
    /// Maximum number of bytes; 0: unlimited.
    limit: u64,
    pins: Mutex<HashMap<String, Pin>>,
}

/// A folder that this process uses, and when it last requested it.
struct Pin {
    requested: Stopwatch,
    _lock: File,
}

/// The content of an entry file.
#[derive(Debug, Serialize, Deserialize)]
struct CacheEntry {
    /// The folder, inside the cache.
    folder: PathBuf,
    size_bytes: u64,
    /// Number of the last use; a counter, because a clock may not advance in between.
    use_number: u64,
}

impl DiskCache {
    /// The entries of the cache in `root`, which exists.
    pub(super) fn open(root: &Path, limit: u64) -> Result<Self> {
        let entries = root.join(ENTRIES);
        fs::create_dir_all(&entries).map_err(io("create", &entries))?;
        Ok(Self { root: root.to_path_buf(), entries, limit, pins: Mutex::default() })
    }

    fn pins(&self) -> MutexGuard<'_, HashMap<String, Pin>> {
        self.pins.lock()
    }

    /// The lock on all entries, released on drop.
    fn gate(&self) -> Result<File> {
        let path = self.entries.join(GATE);
        let gate = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let gate = gate.map_err(io("open", &path))?;
        gate.lock().map_err(io("lock", &path))?;
        Ok(gate)
    }

    /// Records a use of a folder and, with `hold`, pins it until [`let_go`](Self::let_go).
    pub(super) fn record_use(&self, name: &str, folder: &Path, size_bytes: u64, hold: bool) -> Result<()> {
        let mut gate = self.gate()?;
        let path = self.entries.join(name);
        let use_number = next(&mut gate).map_err(io("number the use of", &path))?;
        let folder = folder.strip_prefix(&self.root).unwrap_or(folder).to_path_buf();
        let text = serde_json::to_vec(&CacheEntry { folder, size_bytes, use_number }).unwrap_or_default();
        fs::write(&path, text).map_err(io("write", &path))?;
        if hold {
            let entry = File::open(&path).map_err(io("open", &path))?;
            entry.lock_shared().map_err(io("lock", &path))?;
            self.pins().insert(name.to_owned(), Pin { requested: Stopwatch::start(), _lock: entry });
        }
        Ok(())
    }

    /// Unpins everything whose last request is older than this.
    pub(super) fn let_go(&self, age: Duration) {
        self.pins().retain(|_, pin| pin.requested.seconds() < age.as_secs_f64());
    }

    /// Evicts folders over the limit. Failures are retried the next time.
    pub(super) fn trim(&self) -> Result<()> {
        if self.limit == 0 {
            return Ok(());
        }
        let _gate = self.gate()?;
        self.sweep()?;
        let mut entries = self.read()?;
        entries.sort_by_key(|(_, entry)| entry.use_number);
        let mut total: u64 = entries.iter().map(|(_, entry)| entry.size_bytes).sum();
        for (path, entry) in entries {
            if total <= self.limit {
                break;
            }
            let in_use = File::open(&path).is_ok_and(|file| file.try_lock().is_err());
            if in_use {
                continue;
            }
            self.discard(&self.root.join(&entry.folder))?;
            fs::remove_file(&path).map_err(io("remove", &path))?;
            total -= entry.size_bytes;
            tracing::debug!(folder = %entry.folder.display(), bytes = entry.size_bytes, "removed from the cache");
        }
        Ok(())
    }

    /// Removes a folder; one that is absent is fine.
    pub(super) fn discard(&self, folder: &Path) -> Result<()> {
        let name = folder.strip_prefix(&self.root).unwrap_or(folder).to_string_lossy().replace('/', "-");
        let gone = self.entries.join(format!("{GONE}{name}"));
        match fs::rename(folder, &gone) {
            Ok(()) => fs::remove_dir_all(&gone).map_err(io("remove", &gone)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io("remove", folder)(error)),
        }
    }

    /// Removes folders whose removal was interrupted.
    fn sweep(&self) -> Result<()> {
        for path in self.paths()? {
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn paths(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.entries).map_err(io("list", &self.entries))?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    }

    /// Every entry whose folder exists; others, and invalid entries, are removed unless they are in use.
    fn read(&self) -> Result<Vec<(PathBuf, CacheEntry)>> {
        let mut entries = Vec::new();
        for path in self.paths()?.into_iter().filter(|path| !path.ends_with(GATE)) {
            let entry = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<CacheEntry>(&text).ok());
            match entry {
                Some(entry) if self.root.join(&entry.folder).is_dir() => entries.push((path, entry)),
                _ if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) => {
                    fs::remove_file(&path).map_err(io("remove", &path))?;
                }
                _ => {}
            }
        }
        Ok(entries)
    }
}

/// The next number of a use; the lock file contains the last one.
fn next(gate: &mut File) -> std::io::Result<u64> {
    let mut text = String::new();
    gate.read_to_string(&mut text)?;
    let number = text.trim().parse::<u64>().unwrap_or_default() + 1;
    gate.rewind()?;
    gate.write_all(format!("{number:020}").as_bytes())?;
    Ok(number)
}
