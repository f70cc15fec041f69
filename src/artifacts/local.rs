//! Artifacts in a local folder.
//!
//! A folder becomes visible by one `rename`, after its files and folders were flushed to disk. Copies and deletions
//! happen in `.staging/<writer>/`, which the writer's process holds by a file lock: a process that can take the lock
//! knows that the writer is dead and removes what it left.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::checkpoint::Manifest;

use super::folder::{check_key, copy_dir, difference, io, manifest_of, protect_weights, sync_dir, sync_dirs};
use super::{ArtifactError, ArtifactStore, owner};

const STAGING: &str = ".staging";
const LOCK: &str = "lock";
const GATE: &str = "gate";

/// [`ArtifactStore`] in a folder.
pub(super) struct LocalStore {
    root: PathBuf,
    /// The first folder on the way to `root` that was not there before.
    created: Option<PathBuf>,
    staging: PathBuf,
    /// Held as long as this store lives: marks `staging` as in use.
    _lock: File,
    counter: AtomicU64,
}

type Result<T> = std::result::Result<T, ArtifactError>;

impl LocalStore {
    /// Opens or creates the folder and sweeps the staging areas of dead writers.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let all = root.join(STAGING);
        let created = all.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).last();
        let created = created.map(Path::to_path_buf);
        fs::create_dir_all(&all).map_err(io("create", &all))?;
        let created = created.map(|folder| folder.canonicalize().map_err(io("open", &folder))).transpose()?;
        let root = root.canonicalize().map_err(io("open", root))?;
        let all = root.join(STAGING);
        // One opener at a time: a new area must not be swept before it is locked.
        let gate_path = all.join(GATE);
        let gate = File::create(&gate_path).map_err(io("create", &gate_path))?;
        gate.lock().map_err(io("lock", &gate_path))?;
        sweep(&all)?;
        let (staging, lock) = new_area(&all)?;
        Ok(Self { root, created, staging, _lock: lock, counter: AtomicU64::new(0) })
    }

    fn object(&self, key: &str) -> Result<PathBuf> {
        check_key(key).map(|()| self.root.join(key))
    }

    fn temporary(&self) -> PathBuf {
        self.staging.join(self.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Brings `src` onto the store's file system, if it is on another.
    fn stage(&self, src: &Path) -> Result<PathBuf> {
        let staged = self.temporary();
        match fs::rename(src, &staged) {
            Ok(()) => Ok(staged),
            Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                copy_dir(src, &staged)?;
                Ok(staged)
            }
            Err(error) => Err(io("move", src)(error)),
        }
    }
}

impl ArtifactStore for LocalStore {
    fn publish_dir(&self, src: &Path, key: &str) -> Result<Manifest> {
        let target = self.object(key)?;
        if target.exists() {
            return Err(ArtifactError::Exists(key.to_owned()));
        }
        let parent = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(io("create", parent))?;
        // Read before anything moves: a folder that cannot be stored stays where it is.
        let manifest = manifest_of(src, true)?;
        let staged = self.stage(src)?;
        protect_weights(&staged)?;
        sync_dirs(&staged)?;
        if let Err(error) = fs::rename(&staged, &target) {
            return Err(match error.kind() {
                std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists => {
                    ArtifactError::Exists(key.to_owned())
                }
                _ => io("publish", &target)(error),
            });
        }
        // The chain of parents may be new as well.
        for folder in parent.ancestors().take_while(|f| f.starts_with(&self.root)) {
            sync_dir(folder)?;
        }
        if src.exists() {
            fs::remove_dir_all(src).map_err(io("remove", src))?;
        }
        Ok(manifest)
    }

    fn path(&self, key: &str) -> Result<PathBuf> {
        let path = self.object(key)?;
        if path.is_dir() { Ok(path) } else { Err(ArtifactError::NotFound(key.to_owned())) }
    }

    fn verify(&self, key: &str, manifest: &Manifest) -> Result<()> {
        let path = self.path(key)?;
        let found = manifest_of(&path, false)?;
        if &found == manifest {
            return Ok(());
        }
        let problem = difference(&found, manifest);
        Err(ArtifactError::Damaged { key: key.to_owned(), problem })
    }

    fn delete(&self, key: &str) -> Result<()> {
        let path = self.object(key)?;
        let trash = self.temporary();
        match fs::rename(&path, &trash) {
            Ok(()) => fs::remove_dir_all(&trash).map_err(io("remove", &trash)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io("remove", &path)(error)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let folder = self.object(prefix)?;
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io("list", &folder)(error)),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let name = entry.map_err(io("list", &folder))?.file_name();
            keys.push(format!("{prefix}/{}", name.to_string_lossy()));
        }
        keys.sort();
        Ok(keys)
    }

    fn owner(&self) -> Result<Option<String>> {
        let path = self.root.join(owner::FILE);
        match fs::read(&path) {
            Ok(content) => owner::read(&content).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("read", &path)(error)),
        }
    }

    fn set_owner(&self, database: &str, replace: bool) -> Result<bool> {
        let gate_path = self.root.join(STAGING).join(GATE);
        let gate = File::create(&gate_path).map_err(io("create", &gate_path))?;
        gate.lock().map_err(io("lock", &gate_path))?;
        let path = self.root.join(owner::FILE);
        if !replace && path.exists() {
            return Ok(false);
        }
        let draft = self.temporary();
        fs::write(&draft, owner::written(database)).map_err(io("write", &draft))?;
        File::open(&draft).and_then(|file| file.sync_all()).map_err(io("flush", &draft))?;
        fs::rename(&draft, &path).map_err(io("write", &path))?;
        sync_dir(&self.root)?;
        Ok(true)
    }

    fn abandon(&self) {
        let Some(created) = &self.created else { return };
        let all = self.root.join(STAGING);
        let Ok(gate) = File::open(all.join(GATE)) else { return };
        // Another process that opens it at this moment keeps it.
        if gate.try_lock().is_err() {
            return;
        }
        let only = |folder: &Path, known: &[&Path]| {
            fs::read_dir(folder)
                .is_ok_and(|entries| entries.flatten().all(|entry| known.contains(&entry.path().as_path())))
        };
        if only(&self.root, &[&all]) && only(&all, &[&self.staging, &all.join(GATE)]) {
            // What resists stays; folders that are not empty do.
            let _ = fs::remove_dir_all(&all);
            for folder in self.root.ancestors().take_while(|folder| folder.starts_with(created)) {
                let _ = fs::remove_dir(folder);
            }
        }
    }
}

/// Removes the staging areas whose writers are dead.
fn sweep(all: &Path) -> Result<()> {
    for entry in fs::read_dir(all).map_err(io("list", all))? {
        let area = entry.map_err(io("list", all))?.path();
        if !area.is_dir() {
            continue;
        }
        let dead = match File::open(area.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            // The writer died between creating the folder and its lock file; this process has the lock, so no other is
            // in between.
            Err(_) => true,
        };
        if dead {
            fs::remove_dir_all(&area).map_err(io("remove", &area))?;
        }
    }
    Ok(())
}

fn new_area(all: &Path) -> Result<(PathBuf, File)> {
    let mut number = 0u64;
    loop {
        let area = all.join(format!("{}-{number}", std::process::id()));
        match fs::create_dir(&area) {
            Ok(()) => {
                let path = area.join(LOCK);
                let lock = File::create(&path).map_err(io("create", &path))?;
                lock.lock().map_err(io("lock", &path))?;
                return Ok((area, lock));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(io("create", &area)(error)),
        }
    }
}
