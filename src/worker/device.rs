//! A worker's device, and the lock that keeps a second local worker off it.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::device::DeviceName;

/// A device's name as a part of file names.
pub(super) fn folder_name(device: DeviceName) -> String {
    device.to_string().replace(':', "-")
}

/// Locks a device until it is dropped; the operating system releases the lock when the process dies for any reason.
pub(super) struct DeviceLock {
    file: File,
    /// The previous worker of the device, if it did not stop in an orderly way: it is dead, because the lock is free.
    pub(super) died_before: Option<String>,
}

/// Why a device cannot be locked.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// Another worker has it.
    #[error("another worker ({0}) is using it")]
    Taken(String),
    /// The lock file cannot be used.
    #[error("lock file {0}: {1}")]
    Io(PathBuf, std::io::Error),
}

impl DeviceLock {
    /// Takes the device for `worker_id`.
    pub(super) fn take(folder: &Path, device: DeviceName, worker_id: &str) -> Result<Self, LockError> {
        let path = folder.join(format!("{}.lock", folder_name(device)));
        let io = |error| LockError::Io(path.clone(), error);
        std::fs::create_dir_all(folder).map_err(io)?;
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        let taken = file.try_lock();
        let mut holder = String::new();
        file.read_to_string(&mut holder).map_err(io)?;
        match taken {
            Err(std::fs::TryLockError::WouldBlock) => return Err(LockError::Taken(holder)),
            Err(std::fs::TryLockError::Error(error)) => return Err(io(error)),
            Ok(()) => (),
        }
        let mut lock = Self { file, died_before: Some(holder).filter(|h| !h.is_empty()) };
        lock.write(worker_id).map_err(io)?;
        Ok(lock)
    }

    /// Records that the worker stopped in an orderly way and has no job, so that no clean-up is needed.
    pub(super) fn release(mut self) -> std::io::Result<()> {
        self.write("")
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()
    }
}

/// Extension of a file that a worker touches regularly to show that it is alive, even without a database.
const ALIVE: &str = "alive";

/// Shows that this worker is alive.
pub(super) fn show_life(folder: &Path, device: DeviceName) {
    let path = folder.join(format!("{}.{ALIVE}", folder_name(device)));
    if let Err(error) = std::fs::write(&path, b"") {
        tracing::warn!(file = %path.display(), %error, "cannot touch the worker's liveness file");
    }
}

/// Has a worker with its locks in `folder` shown within `age` that it is alive?
pub fn is_alive(folder: &Path, age: Duration) -> bool {
    let shown = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok()?.elapsed().ok();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut signs =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == ALIVE));
    signs.any(|path| shown(&path).is_some_and(|since| since <= age))
}

/// The machine's name, for display.
pub fn host_name() -> String {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}
