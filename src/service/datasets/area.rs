//! Folders of uploads, until every row was checked.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::request::DatasetRequest;

/// Held by the process that works in the folder.
const LOCK: &str = "lock";
/// What is published in the end.
pub(super) const WORK: &str = "work";
/// Archives to be unpacked.
pub(super) const ARCHIVES: &str = "archives";
/// The data set's files, inside of what is published.
pub(super) const FILES: &str = "files";
/// Only in folders of uploads in parts: such a folder may wait for its next part without a lock.
const REQUEST: &str = "request.json";

/// A folder of one upload; its lock is held while the upload is alive.
pub(super) struct Area {
    pub(super) dir: PathBuf,
    _lock: File,
}

impl Area {
    /// A new folder.
    pub(super) fn create(dir: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir.join(WORK).join(FILES))?;
        std::fs::create_dir_all(dir.join(ARCHIVES))?;
        let lock = File::create(dir.join(LOCK))?;
        lock.lock()?;
        Ok(Self { dir, _lock: lock })
    }

    /// A folder that waits for parts; none while it is in use.
    pub(super) fn open(dir: PathBuf) -> std::io::Result<Option<Self>> {
        let lock = File::open(dir.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { dir, _lock: lock })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Begins an upload in parts: stores the request, so that it outlives this process.
    pub(super) fn wait_for_parts(&self, request: &DatasetRequest) -> std::io::Result<()> {
        let file = File::create(self.dir.join(REQUEST))?;
        serde_json::to_writer(&file, request)?;
        file.sync_all()
    }

    /// The request with which the upload began.
    pub(super) fn request(&self) -> std::io::Result<DatasetRequest> {
        Ok(serde_json::from_slice(&std::fs::read(self.dir.join(REQUEST))?)?)
    }

    /// Removes the folder.
    pub(super) fn remove(self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(folder = %self.dir.display(), %error, "cannot remove the folder of an upload");
        }
    }
}

/// Is this folder unused?
pub(super) fn is_abandoned(dir: &Path) -> bool {
    File::open(dir.join(LOCK)).map_or(true, |lock| lock.try_lock().is_ok())
}

/// Does this folder wait for parts?
pub(super) fn waits_for_parts(dir: &Path) -> bool {
    dir.join(REQUEST).is_file()
}
