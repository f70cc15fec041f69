//! Runs.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite, SqliteExecutor};

use crate::domain::checkpoint::Checkpoint;
use crate::domain::event::{NewEvent, RewindEvent, kind};
use crate::domain::job::LeaseToken;
use crate::domain::metric::EVAL_ACCURACY;
use crate::domain::page::{Listing, Page};
use crate::domain::run::{Run, RunFilter, RunUpdate};
use crate::store::error::{Result, StoreError};
use crate::store::traits::RunStore;

use super::jobs::{push_equal, push_page, push_states, push_tag};
use super::{SqliteStore, Write, checkpoints, events, guard, rows};

const SELECT: &str = include_str!("sql/run_select.sql");
const SELECT_ONE: &str = concat!(include_str!("sql/run_select.sql"), " WHERE runs.id = ?");
const UPDATE: &str = include_str!("sql/run_update.sql");
const REFRESH_METRICS: &str = include_str!("sql/run_refresh_metrics.sql");
const REFRESH_CHECKPOINTS: &str = include_str!("sql/run_refresh_checkpoints.sql");
const LATER_POINTS: &str =
    "DELETE FROM points WHERE key_id IN (SELECT id FROM metric_keys WHERE run_id = ?) AND step > ?";
const EMPTY_KEYS: &str = "DELETE FROM metric_keys \
    WHERE run_id = ? AND last_step > ? AND NOT EXISTS (SELECT 1 FROM points WHERE key_id = metric_keys.id)";
const KEYS: &str = include_str!("sql/rewind_keys.sql");
const LATER_STEPS: &str = "DELETE FROM metric_steps WHERE run_id = ? AND step > ?";
const LATER_SAMPLES: &str = "DELETE FROM samples WHERE run_id = ? AND step > ?";

#[async_trait]
impl RunStore for SqliteStore {
    async fn run(&self, id: &str) -> Result<Run> {
        load(&self.readers, id).await
    }

    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Listing<Run>> {
        let mut query = QueryBuilder::<Sqlite>::new(SELECT);
        query.push(" WHERE true");
        push_states(&mut query, "jobs.state", &filter.states);
        push_equal(&mut query, "runs.project", filter.project.as_deref());
        push_equal(&mut query, "runs.model", filter.model.as_deref());
        push_equal(&mut query, "runs.dataset", filter.dataset.as_deref());
        push_tag(&mut query, "runs.tags", filter.tag.as_ref());
        push_page(&mut query, "runs.id", page);
        let found = query.build().persistent(false).fetch_all(&self.readers).await?;
        let runs = found.iter().map(rows::run).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(runs, page.limit, |r| r.id.clone()))
    }

    async fn update_run(&self, id: &str, update: &RunUpdate) -> Result<Run> {
        let tags = update.tags.as_ref().map(rows::to_json).transpose()?;
        let mut tx = self.write().await?;
        sqlx::query(UPDATE)
            .bind(id)
            .bind(&update.name)
            .bind(&update.notes)
            .bind(tags)
            .bind(self.now())
            .execute(&mut *tx)
            .await?;
        let run = load(&mut *tx, id).await?;
        tx.commit().await?;
        Ok(run)
    }

    async fn rewind(&self, token: &LeaseToken, to_step: Option<u64>) -> Result<Vec<Checkpoint>> {
        // Steps count from 0, so that "beyond -1" is everything.
        let kept = to_step.map_or(-1, |s| s as i64);
        let now = self.now();
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        let gone = checkpoints::delete_later(&mut tx, &token.run_id, kept).await?;
        let mut deleted = gone.len() as u64;
        for sql in [LATER_POINTS, LATER_STEPS, LATER_SAMPLES, EMPTY_KEYS, KEYS] {
            deleted += sqlx::query(sql).bind(&token.run_id).bind(kept).execute(&mut *tx).await?.rows_affected();
        }
        if deleted == 0 {
            return Ok(gone);
        }
        refresh_metrics(&mut tx, &token.run_id, now).await?;
        refresh_checkpoints(&mut tx, &token.run_id, now).await?;
        let event = NewEvent {
            kind: kind::REWIND.to_owned(),
            job_id: Some(token.job_id.clone()),
            run_id: Some(token.run_id.clone()),
            data: events::data(&RewindEvent { to_step })?,
        };
        events::insert(&mut tx, now, &event).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

/// Reads a run.
pub(super) async fn load(executor: impl SqliteExecutor<'_>, id: &str) -> Result<Run> {
    let row = sqlx::query(SELECT_ONE).bind(id).fetch_optional(executor).await?;
    rows::run(&row.ok_or_else(|| StoreError::NotFound { kind: "run", id: id.to_owned() })?)
}

/// Brings last step and accuracy up to date.
pub(super) async fn refresh_metrics(tx: &mut Write, run_id: &str, now: i64) -> Result<()> {
    sqlx::query(REFRESH_METRICS).bind(run_id).bind(EVAL_ACCURACY).bind(now).execute(&mut **tx).await?;
    Ok(())
}

/// Brings best and last checkpoint up to date.
pub(super) async fn refresh_checkpoints(tx: &mut Write, run_id: &str, now: i64) -> Result<()> {
    sqlx::query(REFRESH_CHECKPOINTS).bind(run_id).bind(now).execute(&mut **tx).await?;
    Ok(())
}
