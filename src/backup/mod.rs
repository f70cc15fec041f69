//! Backup and restore: the database at one moment with every file that it names, checked by hashes, complete or absent.
//!
//! A backup is a folder: `backup.json` (what belongs to it), the database, `artifacts/` (an artifact store of its own)
//! and `logs/`. It is written to a temporary folder and renamed when everything is on disk.

mod error;
mod files;
mod manifest;
mod restore;
mod take;

use std::path::PathBuf;
use std::sync::Arc;

use crate::artifacts::ArtifactStore;

pub use error::BackupError;
pub use manifest::{BackupManifest, StoredArtifact};
pub use restore::restore;
pub use take::{TakeOptions, take};

/// What is saved, or where it is put back.
#[derive(Clone)]
pub struct Location {
    /// Address of the database.
    pub database_url: String,
    /// Checkpoints, data sets and rows of evaluations.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Folder of the logs of jobs.
    pub logs: PathBuf,
}

type Result<T> = std::result::Result<T, BackupError>;
