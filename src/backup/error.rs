//! What can go wrong with a backup.

use std::path::{Path, PathBuf};

use crate::artifacts::ArtifactError;
use crate::store::StoreError;

/// Why nothing was saved, or nothing put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place is taken.
    #[error("{} is there already: name a folder that does not exist", .0.display())]
    Taken(PathBuf),
    /// The folder holds no backup, or one that is not whole.
    #[error("{}: no whole backup: {problem}", folder.display())]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// What is missing or different.
        problem: String,
    },
    /// A restore needs an empty place.
    #[error("{what} is not empty: a backup is restored into an empty place; name another one or move it away")]
    NotEmpty {
        /// The place.
        what: String,
    },
    /// An artifact of the database is damaged in the source.
    #[error("{key} is damaged: {problem}; delete it, or skip it with --allow-damaged")]
    Damaged {
        /// The artifact.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// Checkpoints went faster than they could be copied.
    #[error("files were deleted faster than they could be copied; try again while fewer jobs run")]
    Restless,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The artifact store failed.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// The error of a file operation.
pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_path_buf();
    move |source| BackupError::Io { action, path, source }
}
