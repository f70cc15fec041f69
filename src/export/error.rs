//! What can go wrong with an export.

use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The place is taken.
    #[error("{} already exists; choose another path", .0.display())]
    Taken(PathBuf),
    /// The store has the run.
    #[error("{} has this run already; remove its folder {run} there to export it again", store.display())]
    Present {
        /// The store.
        store: PathBuf,
        /// The run's folder in it.
        run: String,
    },
    /// What the server told of the run makes no sense.
    #[error("the run cannot be read: {0}")]
    Run(String),
    /// A Parquet file cannot be written.
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ParquetError),
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
pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ExportError {
    let path = path.to_path_buf();
    move |source| ExportError::Io { action, path, source }
}
