//! Puts a backup back into an empty place.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::error::{BackupError, io};
use super::files::{copy_folder, is_empty};
use super::manifest::{ARTIFACTS, BackupManifest, LOGS, StoredArtifact};
use super::take::sibling;
use super::{Location, Result};
use crate::artifacts::{self, ArtifactStore};
use crate::store::snapshot;

/// Puts the backup in `folder` back. The whole backup is checked before anything is written; the database comes last,
/// so that a partially restored data folder is never used.
///
/// # Errors
/// The place is empty as before.
pub async fn restore(folder: &Path, location: &Location) -> Result<BackupManifest> {
    let restored = restore_into(folder, location).await;
    if restored.is_err() {
        location.artifacts.abandon();
    }
    restored
}

async fn restore_into(folder: &Path, location: &Location) -> Result<BackupManifest> {
    let manifest = tokio::task::block_in_place(|| BackupManifest::read(folder))?;
    if !snapshot::is_absent(&location.database_url, manifest.database).await? {
        return Err(BackupError::NotEmpty { what: "the database".to_owned() });
    }
    if !is_empty(&location.logs) {
        return Err(BackupError::NotEmpty { what: location.logs.display().to_string() });
    }
    let stored = artifacts::open(&format!("file:{}", folder.join(ARTIFACTS).display()))?;
    let target = Arc::clone(&location.artifacts);
    if let Some(taken) = manifest.artifacts.iter().find(|artifact| target.path(&artifact.key).is_ok()) {
        return Err(BackupError::NotEmpty { what: format!("the artifact store (it has {})", taken.key) });
    }
    if target.owner()?.is_some() {
        return Err(BackupError::NotEmpty { what: "the artifact store (it belongs to another database)".to_owned() });
    }
    let work = sibling(&location.logs, "restoring");
    let restored = tokio::task::block_in_place(|| {
        for artifact in &manifest.artifacts {
            put_back(&stored, &target, artifact, &work)?;
        }
        if folder.join(LOGS).is_dir() {
            copy_folder(&folder.join(LOGS), &work)?;
            let _ = fs::remove_dir(&location.logs);
            fs::rename(&work, &location.logs).map_err(io("name", &location.logs))?;
        }
        Ok(())
    });
    let file = folder.join(&manifest.database_file.path);
    let restored = match restored {
        Ok(()) => snapshot::put_back(&location.database_url, &file).await.map_err(BackupError::from),
        Err(error) => Err(error),
    };
    if let Err(error) = restored {
        undo(&target, &manifest, location, &work);
        return Err(error);
    }
    Ok(manifest)
}

fn put_back(
    stored: &Arc<dyn ArtifactStore>,
    target: &Arc<dyn ArtifactStore>,
    artifact: &StoredArtifact,
    work: &Path,
) -> Result<()> {
    copy_folder(&stored.path(&artifact.key)?, work)?;
    let written = target.publish_dir(work, &artifact.key)?;
    if written != artifact.manifest {
        let problem = "it changed while it was copied".to_owned();
        return Err(BackupError::Incomplete { folder: work.to_path_buf(), problem });
    }
    Ok(())
}

/// Takes back what a failed restore has written.
fn undo(target: &Arc<dyn ArtifactStore>, manifest: &BackupManifest, location: &Location, work: &Path) {
    for artifact in &manifest.artifacts {
        if let Err(error) = target.delete(&artifact.key) {
            tracing::warn!(key = %artifact.key, %error, "cannot take back what was restored");
        }
    }
    for folder in [work, &location.logs] {
        // Absent folders are fine.
        let _ = fs::remove_dir_all(folder);
    }
}
