//! What an attempt writes while it holds the lease: every write looks first whether it still does.

use async_trait::async_trait;
use tracing::instrument;

use crate::domain::checkpoint::{Checkpoint, NewCheckpoint};
use crate::domain::event::{Event, RewindEvent, SamplesEvent, kind};
use crate::domain::job::LeaseToken;
use crate::domain::metric::TimedMetrics;
use crate::domain::sample::SampleGroup;
use crate::store::change::{event_data, leased_event};
use crate::store::error::{Result, lease_lost};
use crate::store::json::to_json;
use crate::store::lock::Lock;
use crate::store::points::feed;
use crate::store::traits::AttemptStore;

use super::{SqlStore, Write, batches, checkpoints, events, locks, runs};

const INSERT_CHECKPOINT: &str = include_str!("../sql/checkpoint_insert.sql");
const LATER_POINTS: &str =
    "DELETE FROM points WHERE key_id IN (SELECT id FROM metric_keys WHERE run_id = $1) AND step > $2";
const EMPTY_KEYS: &str = "DELETE FROM metric_keys \
    WHERE run_id = $1 AND last_step > $2 AND NOT EXISTS (SELECT 1 FROM points WHERE key_id = metric_keys.id)";
const KEYS: &str = include_str!("../sql/rewind_keys.sql");
const LATER_STEPS: &str = "DELETE FROM metric_steps WHERE run_id = $1 AND step > $2";
const LATER_SAMPLES: &str = "DELETE FROM samples WHERE run_id = $1 AND step > $2";

#[async_trait]
impl AttemptStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(job = token.job_id, run = token.run_id, attempt = token.attempt))]
    async fn append_metrics(&self, token: &LeaseToken, batch: &[TimedMetrics]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let feed = feed(token, batch)?;
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        let ids = batches::upsert_keys(&mut tx, &token.run_id, batch).await?;
        batches::upsert_steps(&mut tx, &token.run_id, batch).await?;
        batches::upsert_points(&mut tx, &ids, batch).await?;
        let now = self.now();
        runs::refresh_metrics(&mut tx, &token.run_id, now).await?;
        batches::insert_events(&mut tx, now, &feed).await?;
        tx.commit().await?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all, fields(job = token.job_id, run = token.run_id, attempt = token.attempt))]
    async fn append_samples(&self, token: &LeaseToken, step: u64, groups: &[SampleGroup]) -> Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let data = event_data(&SamplesEvent { step, groups: groups.len() as u64 })?;
        let now = self.now();
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        batches::insert_samples(&mut tx, now, &token.run_id, step, groups).await?;
        events::insert(&mut tx, now, &leased_event(token, kind::SAMPLES, data)).await?;
        tx.commit().await?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all, fields(job = token.job_id, run = token.run_id, attempt = token.attempt))]
    async fn add_checkpoint(&self, token: &LeaseToken, new: NewCheckpoint) -> Result<Checkpoint> {
        let manifest = to_json(&new.manifest)?;
        let now = self.now();
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        locks::take(&mut tx, Lock::Run(&token.run_id)).await?;
        let inserted = sqlx::query(INSERT_CHECKPOINT)
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
            return checkpoints::load(&mut tx, &new.id).await;
        }
        runs::refresh_checkpoints(&mut tx, &token.run_id, now).await?;
        let checkpoint = checkpoints::load(&mut tx, &new.id).await?;
        checkpoints::write_event(&mut tx, now, kind::CHECKPOINT, Some(&token.job_id), &checkpoint, None).await?;
        tx.commit().await?;
        Ok(checkpoint)
    }

    #[instrument(level = "debug", skip_all, fields(job = token.job_id, run = token.run_id, attempt = token.attempt))]
    async fn append_job_event(&self, token: &LeaseToken, kind: &str, data: serde_json::Value) -> Result<Event> {
        let event = leased_event(token, kind, data);
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        let event = events::insert(&mut tx, self.now(), &event).await?;
        tx.commit().await?;
        Ok(event)
    }

    #[instrument(level = "debug", skip_all, fields(job = token.job_id, run = token.run_id, attempt = token.attempt))]
    async fn rewind(&self, token: &LeaseToken, to_step: Option<u64>) -> Result<Vec<Checkpoint>> {
        // Steps count from 0, so that "beyond -1" is everything.
        let kept = to_step.map_or(-1, |s| s as i64);
        let now = self.now();
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        locks::take(&mut tx, Lock::Run(&token.run_id)).await?;
        let gone = checkpoints::delete_later(&mut tx, now, &token.run_id, kept).await?;
        let mut deleted = gone.len() as u64;
        for sql in [LATER_POINTS, LATER_STEPS, LATER_SAMPLES, EMPTY_KEYS, KEYS] {
            deleted += sqlx::query(sql).bind(&token.run_id).bind(kept).execute(&mut tx).await?.rows_affected();
        }
        if deleted == 0 {
            return Ok(gone);
        }
        runs::refresh_metrics(&mut tx, &token.run_id, now).await?;
        runs::refresh_checkpoints(&mut tx, &token.run_id, now).await?;
        let event = leased_event(token, kind::REWIND, event_data(&RewindEvent { to_step })?);
        events::insert(&mut tx, now, &event).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

/// Fails unless the token's attempt is the one that holds the job; no other attempt can take the job before the
/// transaction ends.
async fn guard(tx: &mut Write, token: &LeaseToken) -> Result<()> {
    let held = sqlx::query(locks::LEASE_HELD)
        .bind(&token.job_id)
        .bind(&token.run_id)
        .bind(i64::from(token.attempt))
        .fetch_optional(&mut *tx)
        .await?;
    held.map(drop).ok_or_else(|| lease_lost(token))
}
