//! Old results go by policy, in small batches with pauses between them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::retention::{Pruned, RetentionPolicy};
use crate::service::admin::Admin;
use crate::service::admin::storage::ORPHANS_STAY;
use crate::service::{Result, ServiceError};
use crate::store::StoreError;

/// Rows of one transaction.
const BATCH: u32 = 1_000;
/// Other writers may write between two transactions.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause before the first pass of a server, and between two passes.
const FIRST: Duration = Duration::from_mins(1);
const EVERY: Duration = Duration::from_hours(1);
const REASON: &str = "older than the retention policy allows";

impl Admin {
    /// Prunes again and again until the server stops.
    pub async fn keep_pruning(&self, policy: RetentionPolicy) {
        let mut pause = FIRST;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stopping.cancelled() => return,
            }
            match self.prune_all(&policy).await {
                Ok(pruned) if pruned.any() => tracing::info!(?pruned, "old results were deleted"),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "old results cannot be pruned now"),
            }
            pause = EVERY;
        }
    }

    async fn prune_all(&self, policy: &RetentionPolicy) -> Result<Pruned> {
        let pruned = self.prune(policy).await?;
        let orphans = self.remove_orphans(ORPHANS_STAY).await?.removed.len() as u64;
        Ok(Pruned { orphans, ..pruned })
    }

    /// One pass: whatever is older than the policy allows, the oldest first.
    pub async fn prune(&self, policy: &RetentionPolicy) -> Result<Pruned> {
        let now = self.clock.now();
        let before = |days: Option<u32>| days.and_then(|days| now.checked_sub_signed(TimeDelta::days(days.into())));
        let database = &self.database;
        let mut pruned = Pruned::default();
        if let Some(before) = before(policy.events_days) {
            pruned.events = self.in_batches(|| database.prune_events(before, BATCH)).await?;
        }
        if let Some(before) = before(policy.samples_days) {
            pruned.samples = self.in_batches(|| database.prune_samples(before, BATCH)).await?;
        }
        if let Some(before) = before(policy.metrics_days) {
            pruned.points = self.in_batches(|| database.prune_points(before, BATCH)).await?;
        }
        if let Some(before) = before(policy.checkpoints_days) {
            pruned.checkpoints = self.prune_checkpoints(before).await?;
        }
        Ok(pruned)
    }

    /// Repeats `delete` until it finds less than a batch, or the server stops.
    async fn in_batches<F>(&self, delete: impl Fn() -> F) -> Result<u64>
    where
        F: Future<Output = std::result::Result<u64, StoreError>>,
    {
        let mut all = 0;
        loop {
            let gone = delete().await?;
            all += gone;
            if gone < u64::from(BATCH) || self.stopping.is_cancelled() {
                return Ok(all);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn prune_checkpoints(&self, ended_before: DateTime<Utc>) -> Result<u64> {
        let (mut after, mut gone) = (String::new(), 0);
        loop {
            let ids = self.database.prunable_checkpoints(ended_before, &after, BATCH).await?;
            let Some(last) = ids.last() else { return Ok(gone) };
            after.clone_from(last);
            for id in &ids {
                match self.models().forget_checkpoint(id, REASON).await {
                    Ok(()) => gone += 1,
                    // It is in use after all, or was already deleted.
                    Err(ServiceError::Held { .. } | ServiceError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
                if self.stopping.is_cancelled() {
                    return Ok(gone);
                }
            }
        }
    }
}
