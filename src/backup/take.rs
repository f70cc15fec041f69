//! Takes a backup while the server is running.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{BackupError, io};
use super::files::{copy_folder, hashed, hashed_file, sync_folder};
use super::manifest::{ARTIFACTS, BackupManifest, LOGS, StoredArtifact};
use super::{Location, Result};
use crate::artifacts::{self, ArtifactStore};
use crate::clock::Clock;
use crate::domain::checkpoint::Manifest;
use crate::store::snapshot::{self, Snapshot};

/// Looks at the database until every file that it names could be copied.
const LOOKS: u32 = 5;
/// Folders of artifacts that no record of the database describes: evaluations by run, and data sets.
const ROWS: &str = "rows";
const DATASETS: &str = "datasets";

/// How a backup is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TakeOptions {
    /// Skip artifacts that are damaged in the source, instead of failing.
    pub allow_damaged: bool,
}

/// Saves `place` in the new folder `to`. Jobs and requests continue meanwhile; the backup is a consistent snapshot.
///
/// # Errors
/// Nothing is left at `to`.
pub async fn take(location: &Location, to: &Path, options: TakeOptions, clock: &dyn Clock) -> Result<BackupManifest> {
    if to.exists() {
        return Err(BackupError::Taken(to.to_path_buf()));
    }
    let partial = sibling(to, "partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(io("remove", &partial))?;
    }
    let taken = take_into(location, &partial, options, clock).await;
    let finished = taken.and_then(|manifest| {
        fs::rename(&partial, to).map_err(io("name", to))?;
        sync_folder(to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        Ok(manifest)
    });
    if finished.is_err() {
        // What is left of a failed backup is of no use; the error is what counts.
        let _ = fs::remove_dir_all(&partial);
    }
    finished
}

/// A temporary name next to a path.
pub(super) fn sibling(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    path.with_file_name(name)
}

async fn take_into(
    location: &Location,
    folder: &Path,
    options: TakeOptions,
    clock: &dyn Clock,
) -> Result<BackupManifest> {
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let mut copier = Copier {
        from: Arc::clone(&location.artifacts),
        to: artifacts::open(&format!("file:{}", folder.join(ARTIFACTS).display()))?,
        work: folder.join("work"),
        allow_damaged: options.allow_damaged,
        damaged: Vec::new(),
    };
    for _ in 0..LOOKS {
        let created_at = clock.now();
        let snapshot = snapshot::take(&location.database_url, folder).await?;
        // Copying reads and hashes gigabytes: not on a thread that serves others.
        let copied = tokio::task::block_in_place(|| copier.copy_all(&snapshot))?;
        let Some(artifacts) = copied else { continue };
        let logs = folder.join(LOGS);
        if location.logs.is_dir() {
            copy_folder(&location.logs, &logs)?;
        }
        let manifest = BackupManifest {
            format: BackupManifest::format(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            created_at,
            database: snapshot.kind,
            schema_version: snapshot.schema_version,
            database_file: hashed_file(folder, &folder.join(snapshot.file))?,
            artifacts,
            logs: if logs.is_dir() { hashed(&logs)? } else { Vec::new() },
            damaged: copier.damaged,
        };
        manifest.write(folder)?;
        sync_folder(folder)?;
        return Ok(manifest);
    }
    Err(BackupError::Restless)
}

struct Copier {
    from: Arc<dyn ArtifactStore>,
    to: Arc<dyn ArtifactStore>,
    work: PathBuf,
    allow_damaged: bool,
    damaged: Vec<String>,
}

/// How the copy of one artifact went.
enum Copied {
    Whole(StoredArtifact),
    Gone,
    LeftOut,
}

impl Copier {
    /// Copies the artifacts of the snapshot and their logs; none if one of them was deleted in the meantime.
    fn copy_all(&mut self, snapshot: &Snapshot) -> Result<Option<Vec<StoredArtifact>>> {
        let mut artifacts = Vec::new();
        self.damaged.clear();
        for (key, manifest) in &snapshot.checkpoints {
            match self.copy(key, Some(manifest))? {
                Copied::Whole(artifact) => artifacts.push(artifact),
                Copied::Gone => return Ok(None),
                Copied::LeftOut => {}
            }
        }
        let mut others = self.from.list(DATASETS)?;
        for run in self.from.list(ROWS)? {
            others.extend(self.from.list(&run)?);
        }
        for key in others {
            // No record of the snapshot needs what was deleted in the meantime, or it says so itself.
            if let Copied::Whole(artifact) = self.copy(&key, None)? {
                artifacts.push(artifact);
            }
        }
        artifacts.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Some(artifacts))
    }

    fn copy(&mut self, key: &str, wanted: Option<&Manifest>) -> Result<Copied> {
        // Copied while an earlier snapshot was looked at: artifacts never change.
        if let Some(wanted) = wanted.filter(|wanted| self.to.verify(key, wanted).is_ok()) {
            return Ok(Copied::Whole(StoredArtifact { key: key.to_owned(), manifest: wanted.clone() }));
        }
        self.to.delete(key)?;
        let copied = self.from.path(key).map_err(BackupError::from).and_then(|from| copy_folder(&from, &self.work));
        if let Err(error) = copied {
            let _ = fs::remove_dir_all(&self.work);
            // It may have been deleted while it was copied.
            return if self.from.path(key).is_err() { Ok(Copied::Gone) } else { Err(error) };
        }
        let manifest = self.to.publish_dir(&self.work, key)?;
        match wanted {
            Some(wanted) if *wanted != manifest => {
                self.to.delete(key)?;
                let Err(error) = self.from.verify(key, wanted) else { return Ok(Copied::Gone) };
                if self.from.path(key).is_err() {
                    return Ok(Copied::Gone);
                }
                if !self.allow_damaged {
                    return Err(BackupError::Damaged { key: key.to_owned(), problem: error.to_string() });
                }
                self.damaged.push(key.to_owned());
                Ok(Copied::LeftOut)
            }
            _ => Ok(Copied::Whole(StoredArtifact { key: key.to_owned(), manifest })),
        }
    }
}
