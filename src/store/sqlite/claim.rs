//! How a job is claimed, and how its state changes.

use super::common::events;
use super::common::queue::take_next;
use super::common::transition::Applied;
use super::{SqlStore, Write};
use crate::domain::job::{Job, LeasedJob};
use crate::store::change::{Change, decide};
use crate::store::error::Result;
use crate::store::rows;
use crate::store::traits::ClaimRequest;

const UPDATE: &str = include_str!("../sql/job_transition.sql");

impl SqlStore {
    /// Claims the next job.
    pub(super) async fn claim_next(&self, request: &ClaimRequest) -> Result<Option<LeasedJob>> {
        let now = self.now();
        let mut tx = self.write().await?;
        let leased = take_next(&mut tx, now, request).await?;
        tx.commit().await?;
        Ok(leased)
    }
}

/// Writes a transition with its event.
pub(super) async fn write_transition(tx: &mut Write, now: i64, job: &Job, change: &Change<'_>) -> Result<Applied> {
    let outcome = decide(job, change)?;
    let row = sqlx::query(UPDATE)
        .bind(&job.id)
        .bind(outcome.to.name())
        .bind(&*change.reason)
        .bind(i64::from(outcome.attempt))
        .bind(i64::from(outcome.attempts_used))
        .bind(outcome.lease.map(|(worker, _)| worker))
        .bind(outcome.lease.map(|(_, expires)| expires))
        .bind(change.not_before)
        .bind(now)
        .bind(outcome.to.is_final())
        .bind(outcome.asked)
        .fetch_one(&mut *tx)
        .await?;
    events::insert(tx, now, &outcome.event).await?;
    // To look for jobs that wait costs no way to a server.
    Ok(Applied { job: rows::job_after(job, &row)?, awaited: true })
}
