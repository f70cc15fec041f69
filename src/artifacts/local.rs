//! Artifacts in a local folder.
//!
//! A folder becomes visible by one `rename`, after its files and folders were flushed to disk. Copies and deletions
//! happen in `.staging/<writer>/`, which the writer's process holds by a file lock: whoever can take the lock knows
//! that the writer is dead and removes what it left.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::domain::checkpoint::{Manifest, ManifestFile};

use super::{ArtifactError, ArtifactStore};

const STAGING: &str = ".staging";
const LOCK: &str = "lock";
const CHUNK: usize = 1 << 20;

/// [`ArtifactStore`] in a folder.
pub(super) struct LocalStore {
    root: PathBuf,
    staging: PathBuf,
    /// Held as long as this store lives: marks `staging` as in use.
    _lock: File,
    counter: AtomicU64,
}

type Result<T> = std::result::Result<T, ArtifactError>;

fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> ArtifactError + use<'a> {
    move |source| ArtifactError::Io { action, path: path.display().to_string(), source }
}

impl LocalStore {
    /// Opens or creates the folder and sweeps the staging areas of dead writers.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let all = root.join(STAGING);
        fs::create_dir_all(&all).map_err(io("create", &all))?;
        let root = root.canonicalize().map_err(io("open", root))?;
        let all = root.join(STAGING);
        // One opener at a time: a new area must not be swept before it is locked.
        let gate_path = all.join("gate");
        let gate = File::create(&gate_path).map_err(io("create", &gate_path))?;
        gate.lock().map_err(io("lock", &gate_path))?;
        sweep(&all)?;
        let (staging, lock) = new_area(&all)?;
        Ok(Self { root, staging, _lock: lock, counter: AtomicU64::new(0) })
    }

    fn object(&self, key: &str) -> Result<PathBuf> {
        let fits = |part: &str| {
            let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(inside)
        };
        if key.split('/').all(fits) { Ok(self.root.join(key)) } else { Err(ArtifactError::Key(key.to_owned())) }
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
            // Died between the folder and its lock file: the gate is ours, so nobody is in between now.
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

/// Every file below `folder`, sorted by path; links and other special files are refused.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(io("list", &folder))? {
            let entry = entry.map_err(io("list", &folder))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(io("read", &folder))?);
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            } else {
                let problem =
                    std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is neither a file nor a folder");
                return Err(io("store", &path)(problem));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Hashes every file; flushes it to disk as well when `sync` is set.
fn manifest_of(folder: &Path, sync: bool) -> Result<Manifest> {
    let mut entries = Vec::new();
    let mut whole = Sha256::new();
    let mut buffer = vec![0u8; CHUNK];
    for path in files(folder)? {
        let mut file = File::open(&path).map_err(io("open", &path))?;
        let (mut hash, mut size_bytes) = (Sha256::new(), 0u64);
        loop {
            let n = file.read(&mut buffer).map_err(io("read", &path))?;
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
            size_bytes += n as u64;
        }
        if sync {
            file.sync_all().map_err(io("flush", &path))?;
        }
        let inside = path.strip_prefix(folder).unwrap_or(&path);
        let parts: Vec<_> = inside.iter().map(|p| p.to_string_lossy()).collect();
        let entry = ManifestFile { path: parts.join("/"), size_bytes, sha256: format!("{:x}", hash.finalize()) };
        whole.update(format!("{}\0{}\0{}\n", entry.path, entry.size_bytes, entry.sha256));
        entries.push(entry);
    }
    let size_bytes = entries.iter().map(|e| e.size_bytes).sum();
    Ok(Manifest { files: entries, size_bytes, sha256: format!("{:x}", whole.finalize()) })
}

fn difference(found: &Manifest, wanted: &Manifest) -> String {
    for file in &wanted.files {
        match found.files.iter().find(|f| f.path == file.path) {
            None => return format!("{} is missing", file.path),
            Some(f) if f.size_bytes != file.size_bytes => {
                return format!("{} has {} bytes instead of {}", file.path, f.size_bytes, file.size_bytes);
            }
            Some(f) if f.sha256 != file.sha256 => return format!("{} has another content", file.path),
            Some(_) => (),
        }
    }
    match found.files.iter().find(|f| wanted.files.iter().all(|w| w.path != f.path)) {
        Some(extra) => format!("{} does not belong to it", extra.path),
        None => "its manifest contradicts itself".to_owned(),
    }
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(io("create", to))?;
    for path in files(from)? {
        let target = to.join(path.strip_prefix(from).unwrap_or(&path));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(io("create", parent))?;
        }
        fs::copy(&path, &target).map_err(io("copy", &path))?;
        File::open(&target).and_then(|f| f.sync_all()).map_err(io("flush", &target))?;
    }
    Ok(())
}

fn sync_dirs(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let path = entry.map_err(io("list", folder))?.path();
        if path.is_dir() {
            sync_dirs(&path)?;
        }
    }
    sync_dir(folder)
}

fn sync_dir(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(io("flush", folder))
}
