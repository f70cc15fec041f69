//! Checkpoints.

use async_trait::async_trait;
use sqlx::{Executor, QueryBuilder};
use tracing::instrument;

use crate::domain::checkpoint::{Checkpoint, CheckpointFilter};
use crate::domain::event::{CheckpointEvent, NewEvent, kind};
use crate::domain::page::{Listing, Page};
use crate::store::change::{event_data, taken};
use crate::store::error::{Result, StoreError};
use crate::store::filter::{push_equal, push_page};
use crate::store::lock::Lock;
use crate::store::rows;
use crate::store::traits::CheckpointStore;

use super::{Db, SqlStore, Write, events, existing, ids, locks, runs, servers};

const SELECT: &str = include_str!("../sql/checkpoint_select.sql");
const SELECT_ONE: &str = concat!(include_str!("../sql/checkpoint_select.sql"), " WHERE checkpoints.id = $1");
const SELECT_RUN: &str = concat!(
    include_str!("../sql/checkpoint_select.sql"),
    " WHERE checkpoints.run_id = $1 ORDER BY checkpoints.step DESC, checkpoints.id DESC"
);
const SELECT_PROMOTED: &str =
    concat!(include_str!("../sql/checkpoint_select.sql"), " WHERE checkpoints.promoted_as = $1");
const SELECT_ALL_PROMOTED: &str = concat!(
    include_str!("../sql/checkpoint_select.sql"),
    " WHERE checkpoints.promoted_as IS NOT NULL ORDER BY checkpoints.promoted_as"
);
const JOBS: &str = include_str!("../sql/checkpoint_jobs.sql");
const DELETE: &str = "DELETE FROM checkpoints WHERE id = $1";
const MODEL: &str = "SELECT 1 FROM models WHERE name = $1";
const DEMOTE: &str = "UPDATE checkpoints SET promoted_as = NULL WHERE promoted_as = $1";
const UNNAME: &str = "UPDATE checkpoints SET promoted_as = NULL WHERE id = $1";
const PROMOTE: &str = "UPDATE checkpoints SET promoted_as = $1 WHERE id = $2";

#[async_trait]
impl CheckpointStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(checkpoint = id))]
    async fn checkpoint(&self, id: &str) -> Result<Checkpoint> {
        self.patiently(|| load(self.reads(), id)).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn checkpoints(&self, filter: &CheckpointFilter, page: &Page) -> Result<Listing<Checkpoint>> {
        let list = || {
            let mut query = QueryBuilder::<Db>::new(SELECT);
            query.push(" WHERE true");
            push_equal(&mut query, "checkpoints.run_id", filter.run_id.as_deref());
            push_equal(&mut query, "runs.project", filter.project.as_deref());
            push_page(&mut query, "checkpoints.id", page);
            query
        };
        let checkpoints = self.listed(list).await?.iter().map(rows::checkpoint).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(checkpoints, page.limit, |c| c.id.clone()))
    }

    #[instrument(level = "debug", skip_all, fields(run = run_id))]
    async fn run_checkpoints(&self, run_id: &str) -> Result<Vec<Checkpoint>> {
        self.all(|| sqlx::query(SELECT_RUN).bind(run_id)).await?.iter().map(rows::checkpoint).collect()
    }

    #[instrument(level = "debug", skip_all, fields(checkpoint = id, name = name))]
    async fn promote_within(&self, id: &str, name: &str, project: Option<&str>) -> Result<Checkpoint> {
        let mut tx = self.write().await?;
        locks::take(&mut tx, Lock::Names).await?;
        if sqlx::query(MODEL).bind(name).fetch_optional(&mut tx).await?.is_some() {
            return Err(StoreError::Conflict(format!("`{name}` is a registered model; choose another name")));
        }
        let served = sqlx::query(SELECT_PROMOTED).bind(name).fetch_optional(&mut tx).await?;
        let served = served.as_ref().map(rows::checkpoint).transpose()?;
        if served.is_some_and(|served| project.is_some_and(|project| served.project != project)) {
            return Err(taken(name));
        }
        sqlx::query(DEMOTE).bind(name).execute(&mut tx).await?;
        sqlx::query(PROMOTE).bind(name).bind(id).execute(&mut tx).await?;
        let checkpoint = load(&mut tx, id).await?;
        tx.commit().await?;
        Ok(checkpoint)
    }

    #[instrument(level = "debug", skip_all, fields(checkpoint = id))]
    async fn demote(&self, id: &str) -> Result<Checkpoint> {
        let mut tx = self.write().await?;
        locks::take(&mut tx, Lock::Names).await?;
        sqlx::query(UNNAME).bind(id).execute(&mut tx).await?;
        let checkpoint = load(&mut tx, id).await?;
        tx.commit().await?;
        Ok(checkpoint)
    }

    #[instrument(level = "debug", skip_all)]
    async fn promotions(&self) -> Result<Vec<Checkpoint>> {
        self.all(|| sqlx::query(SELECT_ALL_PROMOTED)).await?.iter().map(rows::checkpoint).collect()
    }

    #[instrument(level = "debug", skip_all, fields(name = name))]
    async fn promoted(&self, name: &str) -> Result<Option<Checkpoint>> {
        self.optional(|| sqlx::query(SELECT_PROMOTED).bind(name)).await?.as_ref().map(rows::checkpoint).transpose()
    }

    #[instrument(level = "debug", skip_all, fields(checkpoint = id))]
    async fn delete_checkpoint(&self, id: &str, reason: &str) -> Result<Checkpoint> {
        let now = self.now();
        let mut tx = self.write().await?;
        let run_id = load(&mut tx, id).await?.run_id;
        locks::take(&mut tx, Lock::Run(&run_id)).await?;
        locks::take(&mut tx, Lock::Checkpoint(id)).await?;
        let checkpoint = load(&mut tx, id).await?;
        let holders = holders(&mut tx, &checkpoint).await?;
        if !holders.is_empty() {
            return Err(StoreError::Held { kind: "checkpoint", id: id.to_owned(), holders });
        }
        sqlx::query(DELETE).bind(id).execute(&mut tx).await?;
        servers::note_removal(&mut tx, now, &checkpoint.key).await?;
        write_event(&mut tx, now, kind::CHECKPOINT_DELETED, None, &checkpoint, Some(reason)).await?;
        tx.commit().await?;
        Ok(checkpoint)
    }
}

/// Reads a checkpoint.
pub(super) async fn load(executor: impl Executor<'_, Database = Db>, id: &str) -> Result<Checkpoint> {
    let row = sqlx::query(SELECT_ONE).bind(id).fetch_optional(executor).await?;
    rows::checkpoint(&existing(row, "checkpoint", id)?)
}

async fn holders(tx: &mut Write, checkpoint: &Checkpoint) -> Result<Vec<String>> {
    let run = runs::load(&mut *tx, &checkpoint.run_id).await?;
    let mut holders = Vec::new();
    if let Some(name) = &checkpoint.promoted_as {
        holders.push(format!("the served model `{name}`"));
    }
    if run.best_checkpoint.as_ref() == Some(&checkpoint.id) {
        holders.push(format!("{} (best)", run.id));
    }
    if run.last_checkpoint.as_ref() == Some(&checkpoint.id) {
        holders.push(format!("{} (last)", run.id));
    }
    holders.extend(ids(&sqlx::query(JOBS).bind(&checkpoint.id).fetch_all(&mut *tx).await?)?);
    Ok(holders)
}

/// The checkpoints of a run, inside a transaction.
pub(super) async fn of_run(tx: &mut Write, run_id: &str) -> Result<Vec<Checkpoint>> {
    sqlx::query(SELECT_RUN).bind(run_id).fetch_all(&mut *tx).await?.iter().map(rows::checkpoint).collect()
}

/// Deletes the checkpoints of later steps than `step` that are not promoted, and returns them.
pub(super) async fn delete_later(tx: &mut Write, now: i64, run_id: &str, step: i64) -> Result<Vec<Checkpoint>> {
    let later = sqlx::query(locks::LATER_CHECKPOINTS).bind(run_id).bind(step).fetch_all(&mut *tx).await?;
    let later = later.iter().map(rows::checkpoint).collect::<Result<Vec<_>>>()?;
    for checkpoint in &later {
        sqlx::query(DELETE).bind(&checkpoint.id).execute(&mut *tx).await?;
        servers::note_removal(tx, now, &checkpoint.key).await?;
    }
    Ok(later)
}

/// Tells of a checkpoint.
pub(super) async fn write_event(
    tx: &mut Write,
    now: i64,
    kind: &str,
    job_id: Option<&str>,
    checkpoint: &Checkpoint,
    reason: Option<&str>,
) -> Result<()> {
    let data = CheckpointEvent {
        checkpoint_id: checkpoint.id.clone(),
        step: checkpoint.step,
        accuracy: checkpoint.accuracy,
        reason: reason.map(str::to_owned),
    };
    let event = NewEvent {
        kind: kind.to_owned(),
        job_id: job_id.map(str::to_owned),
        run_id: Some(checkpoint.run_id.clone()),
        project: None,
        data: event_data(&data)?,
    };
    events::insert(tx, now, &event).await?;
    Ok(())
}
