//! Checkpoints.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteExecutor};

use crate::domain::checkpoint::{Checkpoint, CheckpointFilter, NewCheckpoint};
use crate::domain::event::{CheckpointEvent, NewEvent, kind};
use crate::domain::job::LeaseToken;
use crate::domain::page::{Listing, Page};
use crate::store::change::{event_data, taken};
use crate::store::error::{Result, StoreError};
use crate::store::filter::{push_equal, push_page};
use crate::store::rows;
use crate::store::traits::CheckpointStore;

use super::{SqliteStore, Write, events, guard, runs, servers};

const SELECT: &str = include_str!("../sql/checkpoint_select.sql");
const SELECT_ONE: &str = concat!(include_str!("../sql/checkpoint_select.sql"), " WHERE checkpoints.id = ?");
const SELECT_RUN: &str = concat!(
    include_str!("../sql/checkpoint_select.sql"),
    " WHERE checkpoints.run_id = ? ORDER BY checkpoints.step DESC, checkpoints.id DESC"
);
const SELECT_LATER: &str = concat!(
    include_str!("../sql/checkpoint_select.sql"),
    " WHERE checkpoints.run_id = ? AND checkpoints.step > ? AND checkpoints.promoted_as IS NULL"
);
const SELECT_PROMOTED: &str =
    concat!(include_str!("../sql/checkpoint_select.sql"), " WHERE checkpoints.promoted_as = ?");
const SELECT_ALL_PROMOTED: &str = concat!(
    include_str!("../sql/checkpoint_select.sql"),
    " WHERE checkpoints.promoted_as IS NOT NULL ORDER BY checkpoints.promoted_as"
);
const INSERT: &str = include_str!("sql/checkpoint_insert.sql");
const JOBS: &str = include_str!("sql/checkpoint_jobs.sql");
const DELETE: &str = "DELETE FROM checkpoints WHERE id = ?";
const DEMOTE: &str = "UPDATE checkpoints SET promoted_as = NULL WHERE promoted_as = ?";
const UNNAME: &str = "UPDATE checkpoints SET promoted_as = NULL WHERE id = ?";
const PROMOTE: &str = "UPDATE checkpoints SET promoted_as = ? WHERE id = ?";

#[async_trait]
impl CheckpointStore for SqliteStore {
    async fn add_checkpoint(&self, token: &LeaseToken, new: NewCheckpoint) -> Result<Checkpoint> {
        let manifest = rows::to_json(&new.manifest)?;
        let now = self.now();
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        let inserted = sqlx::query(INSERT)
            .bind(&new.id)
            .bind(&token.run_id)
            .bind(new.step as i64)
            .bind(&new.key)
            .bind(new.accuracy)
            .bind(new.score)
            .bind(new.last)
            .bind(manifest)
            .bind(now)
            .execute(&mut tx)
            .await?;
        if inserted.rows_affected() == 0 {
            return load(&mut tx, &new.id).await;
        }
        runs::refresh_checkpoints(&mut tx, &token.run_id, now).await?;
        let checkpoint = load(&mut tx, &new.id).await?;
        write_event(&mut tx, now, kind::CHECKPOINT, Some(&token.job_id), &checkpoint, None).await?;
        tx.commit().await?;
        Ok(checkpoint)
    }

    async fn checkpoint(&self, id: &str) -> Result<Checkpoint> {
        load(&self.readers, id).await
    }

    async fn checkpoints(&self, filter: &CheckpointFilter, page: &Page) -> Result<Listing<Checkpoint>> {
        let mut query = QueryBuilder::<Sqlite>::new(SELECT);
        query.push(" WHERE true");
        push_equal(&mut query, "checkpoints.run_id", filter.run_id.as_deref());
        push_equal(&mut query, "runs.project", filter.project.as_deref());
        push_page(&mut query, "checkpoints.id", page);
        let found = query.build().persistent(false).fetch_all(&self.readers).await?;
        let checkpoints = found.iter().map(rows::checkpoint).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(checkpoints, page.limit, |c| c.id.clone()))
    }

    async fn run_checkpoints(&self, run_id: &str) -> Result<Vec<Checkpoint>> {
        sqlx::query(SELECT_RUN).bind(run_id).fetch_all(&self.readers).await?.iter().map(rows::checkpoint).collect()
    }

    async fn promote_within(&self, id: &str, name: &str, project: Option<&str>) -> Result<Checkpoint> {
        let mut tx = self.write().await?;
        let model = sqlx::query("SELECT 1 FROM models WHERE name = ?").bind(name).fetch_optional(&mut tx).await?;
        if model.is_some() {
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

    async fn demote(&self, id: &str) -> Result<Checkpoint> {
        let mut tx = self.write().await?;
        sqlx::query(UNNAME).bind(id).execute(&mut tx).await?;
        let checkpoint = load(&mut tx, id).await?;
        tx.commit().await?;
        Ok(checkpoint)
    }

    async fn promotions(&self) -> Result<Vec<Checkpoint>> {
        sqlx::query(SELECT_ALL_PROMOTED).fetch_all(&self.readers).await?.iter().map(rows::checkpoint).collect()
    }

    async fn promoted(&self, name: &str) -> Result<Option<Checkpoint>> {
        let row = sqlx::query(SELECT_PROMOTED).bind(name).fetch_optional(&self.readers).await?;
        row.as_ref().map(rows::checkpoint).transpose()
    }

    async fn delete_checkpoint(&self, id: &str, reason: &str) -> Result<Checkpoint> {
        let now = self.now();
        let mut tx = self.write().await?;
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

async fn load(executor: impl SqliteExecutor<'_>, id: &str) -> Result<Checkpoint> {
    let row = sqlx::query(SELECT_ONE).bind(id).fetch_optional(executor).await?;
    rows::checkpoint(&row.ok_or_else(|| StoreError::NotFound { kind: "checkpoint", id: id.to_owned() })?)
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
    for row in sqlx::query(JOBS).bind(&checkpoint.id).fetch_all(&mut *tx).await? {
        holders.push(row.try_get("id")?);
    }
    Ok(holders)
}

/// The checkpoints of a run, inside a transaction.
pub(super) async fn of_run(tx: &mut Write, run_id: &str) -> Result<Vec<Checkpoint>> {
    sqlx::query(SELECT_RUN).bind(run_id).fetch_all(&mut *tx).await?.iter().map(rows::checkpoint).collect()
}

/// Deletes the checkpoints of later steps than `step` that are not promoted, and returns them.
pub(super) async fn delete_later(tx: &mut Write, now: i64, run_id: &str, step: i64) -> Result<Vec<Checkpoint>> {
    let later = sqlx::query(SELECT_LATER).bind(run_id).bind(step).fetch_all(&mut *tx).await?;
    let later = later.iter().map(rows::checkpoint).collect::<Result<Vec<_>>>()?;
    for checkpoint in &later {
        sqlx::query(DELETE).bind(&checkpoint.id).execute(&mut *tx).await?;
        servers::note_removal(tx, now, &checkpoint.key).await?;
    }
    Ok(later)
}

async fn write_event(
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
