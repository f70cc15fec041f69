//! The files of this database: whose they are, which of them go, and that nothing goes because a database does not know
//! it.
//!
//! A store of artifacts carries the id of its database. What a database has deleted it notes in the same transaction,
//! and the files follow, if need be after a restart. What no record names is an orphan: it was published by a process
//! that died before it could record it. Orphans are noted with the time at which they were first found, and go when
//! they are old.

use std::collections::HashSet;
use std::time::Duration;

use crate::artifacts::{ArtifactError, ArtifactStore, Ownership, ownership};
use crate::domain::checkpoint::CHECKPOINTS;
use crate::domain::dataset::{ARTIFACTS as DATASETS, DatasetRecord, DatasetState};
use crate::domain::eval_row::ROWS;
use crate::service::admin::Admin;
use crate::service::{Result, ServiceError};
use crate::store::StoreError;

/// The part of the artifact store with models.
const MODELS: &str = "models";
/// Age at which a server removes orphans, from when it first found them.
pub const ORPHANS_STAY: Duration = Duration::from_hours(7 * 24);
/// The same for `vgpo prune --orphans`.
pub const ORPHANS_STAY_AT_LEAST: Duration = Duration::from_mins(10);

/// Artifacts that no record names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Orphans {
    /// All of them.
    pub keys: Vec<String>,
    /// Those that were old enough and have been removed.
    pub removed: Vec<String>,
}

impl Admin {
    /// Ensures that the artifacts belong to this database. An artifact store without an owner is adopted where it is
    /// empty, or if the database knows some of the artifacts: it is older than such notes, or was restored.
    ///
    /// # Errors
    /// `Conflict`; nothing was changed then.
    pub async fn own_artifacts(&self) -> Result<()> {
        let database = self.database.database_id().await?;
        let mine = database.clone();
        if self.in_storage(move |artifacts| ownership(artifacts, &mine)).await? == Ownership::Own {
            return Ok(());
        }
        let keys = self.in_storage(stored).await?;
        let unknown = self.unknown(&keys).await?;
        if !keys.is_empty() && unknown.len() == keys.len() {
            let (address, some) = (&self.settings.artifacts_url, &keys[0]);
            return Err(ServiceError::Conflict(format!(
                "the artifacts at {address} contain {} entries (such as {some}), none of which is in this database \
                 ({database}): nothing of them was touched. Check VGPO_DATABASE_URL and VGPO_ARTIFACTS_URL; where both \
                 are right, `vgpo prune --adopt` takes the artifacts over",
                keys.len()
            )));
        }
        let mine = database.clone();
        self.in_storage(move |artifacts| {
            if !artifacts.set_owner(&mine, false)? {
                // Another server was faster.
                ownership(artifacts, &mine)?;
            }
            Ok(())
        })
        .await
    }

    /// Refuses artifacts of another database, for processes that only use them.
    pub async fn refuse_foreign_artifacts(&self) -> Result<()> {
        let database = self.database.database_id().await?;
        self.in_storage(move |artifacts| ownership(artifacts, &database).map(drop)).await
    }

    /// Takes the artifacts over, whosever they were.
    pub async fn adopt_artifacts(&self) -> Result<()> {
        let database = self.database.database_id().await?;
        self.in_storage(move |artifacts| artifacts.set_owner(&database, true).map(drop)).await
    }

    /// Removes the files of deleted records whose removal was interrupted.
    pub async fn finish_removals(&self) -> Result<()> {
        for key in self.database.removals().await? {
            self.remove_files(&key).await?;
        }
        Ok(())
    }

    /// Looks for artifacts that no record names, and removes those that were first found at least `age` ago.
    pub async fn remove_orphans(&self, age: Duration) -> Result<Orphans> {
        self.own_artifacts().await?;
        // The files before the records: what is published meanwhile is recorded by then, or belongs to a running
        // attempt.
        let keys = self.in_storage(stored).await?;
        let mut unknown = self.unknown(&keys).await?;
        let is_known = |key: &&String| key.starts_with(CHECKPOINTS) && !unknown.contains(*key);
        let runs: Vec<String> = keys.iter().filter(is_known).cloned().collect();
        for folder in runs {
            let inside = self.in_storage(move |artifacts| below(artifacts, &folder)).await?;
            unknown.extend(self.unrecorded(inside).await?);
        }
        unknown.sort();
        let removed = self.database.note_orphans(&unknown, age).await?;
        for key in &removed {
            tracing::warn!(key, "an artifact without a record was removed");
            self.remove_files(key).await?;
        }
        Ok(Orphans { keys: unknown, removed })
    }

    /// Those of the keys that no record names.
    async fn unknown(&self, keys: &[String]) -> Result<Vec<String>> {
        let datasets = self.store.datasets().await?;
        let datasets = datasets.iter().filter(|record| record.state != DatasetState::Invalid);
        let models = self.store.models().await?;
        let mut known: HashSet<String> = datasets.map(DatasetRecord::artifact_key).collect();
        known.extend(models.iter().filter_map(|model| model.artifact_key().map(ToOwned::to_owned)));
        let mut unknown = Vec::new();
        for key in keys {
            let told = match key.split_once('/') {
                Some((CHECKPOINTS | ROWS, run)) => self.is_run(run).await?,
                _ => known.contains(key),
            };
            if !told {
                unknown.push(key.clone());
            }
        }
        Ok(unknown)
    }

    async fn is_run(&self, id: &str) -> Result<bool> {
        match self.store.run(id).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Those of a run's checkpoints that have no record, unless an attempt may be running: the next attempt sweeps its
    /// run.
    async fn unrecorded(&self, stored: Vec<String>) -> Result<Vec<String>> {
        let run = stored.first().and_then(|key| key.split('/').nth(1)).map(ToOwned::to_owned);
        let Some(run) = run else { return Ok(Vec::new()) };
        let finished = match self.store.run(&run).await {
            Ok(run) => run.state.is_final(),
            Err(StoreError::NotFound { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if !finished {
            return Ok(Vec::new());
        }
        let known: HashSet<String> = self.store.run_checkpoints(&run).await?.into_iter().map(|c| c.key).collect();
        Ok(stored.into_iter().filter(|key| !known.contains(key)).collect())
    }
}

/// Everything in the store: data sets, models, and the folders of runs.
fn stored(artifacts: &dyn ArtifactStore) -> std::result::Result<Vec<String>, ArtifactError> {
    let mut keys = Vec::new();
    for prefix in [DATASETS, MODELS, CHECKPOINTS, ROWS] {
        keys.extend(below(artifacts, prefix)?);
    }
    Ok(keys)
}

/// Everything directly below a prefix, complete or not.
fn below(artifacts: &dyn ArtifactStore, prefix: &str) -> std::result::Result<Vec<String>, ArtifactError> {
    Ok([artifacts.list(prefix)?, artifacts.leftovers(prefix)?].concat())
}
