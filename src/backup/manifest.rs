//! `backup.json`: what belongs to a backup.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Result;
use super::error::{BackupError, io};
use super::files::{hashed, hashed_file};
use crate::artifacts;
use crate::domain::checkpoint::{Manifest, ManifestFile};
use crate::store::snapshot::DatabaseKind;

/// Name of the file.
const FILE: &str = "backup.json";
/// The form of backups that this program writes and reads.
const FORMAT: u32 = 1;
/// Folder of the artifacts.
pub(super) const ARTIFACTS: &str = "artifacts";
/// Folder of the logs of jobs.
pub(super) const LOGS: &str = "logs";

/// What belongs to a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// Form of the backup.
    pub format: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// The moment that it shows.
    pub created_at: DateTime<Utc>,
    /// Kind of the database.
    pub database: DatabaseKind,
    /// Number of the last migration that the database has seen.
    pub schema_version: i64,
    /// The database's file.
    pub database_file: ManifestFile,
    /// Checkpoints, rows of evaluations and data sets.
    pub artifacts: Vec<StoredArtifact>,
    /// Logs of jobs.
    pub logs: Vec<ManifestFile>,
    /// Artifacts that were skipped because they were damaged.
    pub damaged: Vec<String>,
}

/// One artifact of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredArtifact {
    /// Its key.
    pub key: String,
    /// Its files.
    pub manifest: Manifest,
}

impl BackupManifest {
    /// The form that this program writes.
    pub(super) fn format() -> u32 {
        FORMAT
    }

    /// Bytes of everything.
    pub fn size_bytes(&self) -> u64 {
        let artifacts: u64 = self.artifacts.iter().map(|artifact| artifact.manifest.size_bytes).sum();
        artifacts + self.database_file.size_bytes + self.logs.iter().map(|log| log.size_bytes).sum::<u64>()
    }

    /// Writes it into the folder, as the last file.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(|e| io("write", &path)(std::io::Error::other(e)))?;
        let mut file = File::create(&path).map_err(io("create", &path))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io("write", &path))
    }

    /// Reads the folder's manifest and compares everything with it.
    ///
    /// # Errors
    /// `Incomplete` with the first thing that is missing or different.
    pub fn read(folder: &Path) -> Result<Self> {
        let incomplete = |problem: String| BackupError::Incomplete { folder: folder.to_path_buf(), problem };
        let text = fs::read_to_string(folder.join(FILE)).map_err(|error| incomplete(format!("{FILE}: {error}")))?;
        let manifest: Self = serde_json::from_str(&text).map_err(|error| incomplete(format!("{FILE}: {error}")))?;
        if manifest.format != FORMAT {
            let problem = format!("it has form {}, this program reads form {FORMAT}", manifest.format);
            return Err(incomplete(problem));
        }
        manifest.check(folder)?.map_or(Ok(manifest), |problem| Err(incomplete(problem)))
    }

    /// The first thing in the folder that differs from this manifest.
    fn check(&self, folder: &Path) -> Result<Option<String>> {
        let database = folder.join(&self.database_file.path);
        if !database.is_file() {
            return Ok(Some(format!("{} is missing", self.database_file.path)));
        }
        if hashed_file(folder, &database)? != self.database_file {
            return Ok(Some(format!("{} has another content", self.database_file.path)));
        }
        let stored = artifacts::open(&format!("file:{}", folder.join(ARTIFACTS).display()))?;
        for artifact in &self.artifacts {
            if let Err(error) = stored.verify(&artifact.key, &artifact.manifest) {
                return Ok(Some(error.to_string()));
            }
        }
        let logs = folder.join(LOGS);
        let found = if logs.is_dir() { hashed(&logs)? } else { Vec::new() };
        Ok((found != self.logs).then(|| format!("the files in {LOGS} are others")))
    }
}
