//! How a job is claimed, and how its state changes: in as few ways to the server and back as possible.

use std::time::Duration;

use sqlx::Row as _;

use super::common::queue::take_next;
use super::common::transition::Applied;
use super::{SqlStore, Write, locks};
use crate::domain::job::{Job, LeasedJob};
use crate::store::change::{Change, decide};
use crate::store::error::Result;
use crate::store::json::to_json;
use crate::store::rows;
use crate::store::traits::{ClaimRequest, QueueStore as _};

/// A claim walks along the index of the queue up to the first job that it may take. Where the table's statistics are
/// behind, as they are when many jobs came at once, the planner would rather sort the whole queue, and every claim
/// again.
const BEGIN: &str = "BEGIN; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off";
/// Takes the lock $1 only where there is something to count.
const COUNT_ALONE: &str =
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM project_quotas) THEN pg_advisory_xact_lock($1) IS NULL END";
/// The transition with its event ($12 to $15), and whether other jobs wait for it: one way to the server and back.
const UPDATE: &str = concat!(
    "WITH changed AS (",
    include_str!("../sql/job_transition.sql"),
    "), told AS (",
    include_str!("../sql/event_insert.sql"),
    "SELECT $9, $12, $1, $13, $14, $15 FROM changed\
    ) \
    SELECT changed.*, \
        EXISTS (SELECT 1 FROM jobs AS later WHERE later.after_job = $1 AND later.state = 'queued') AS awaited \
    FROM changed"
);

/// How long a claim waits for rows that others have locked.
const LOCKED_PAUSES: [Duration; 3] = [Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(80)];

impl SqlStore {
    /// Claims the next job.
    pub(super) async fn claim_next(&self, request: &ClaimRequest) -> Result<Option<LeasedJob>> {
        let mut leased = Box::pin(self.try_claim(request)).await?;
        // A job whose row is locked is passed over; whoever looked at it is done with it in a moment.
        for pause in LOCKED_PAUSES {
            if leased.is_some() || !self.has_work(request.device, request.ranks).await? {
                break;
            }
            tokio::time::sleep(pause).await;
            leased = Box::pin(self.try_claim(request)).await?;
        }
        Ok(leased)
    }

    /// Claims the next job that no other transaction has locked.
    async fn try_claim(&self, request: &ClaimRequest) -> Result<Option<LeasedJob>> {
        let now = self.now();
        let mut tx = self.write_with(BEGIN).await?;
        // Where projects have limits, one claim at a time counts and takes: two at once would both find the last place
        // free.
        sqlx::query(COUNT_ALONE).bind(locks::QUOTAS).execute(&mut tx).await?;
        let leased = take_next(&mut tx, now, request).await?;
        tx.commit().await?;
        Ok(leased)
    }
}

/// Writes a transition with its event.
pub(super) async fn write_transition(tx: &mut Write, now: i64, job: &Job, change: &Change<'_>) -> Result<Applied> {
    let outcome = decide(job, change)?;
    let event = &outcome.event;
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
        .bind(&event.kind)
        .bind(&event.run_id)
        .bind(&event.project)
        .bind(to_json(&event.data)?)
        .fetch_one(&mut *tx)
        .await?;
    Ok(Applied { job: rows::job_after(job, &row)?, awaited: row.try_get("awaited")? })
}
