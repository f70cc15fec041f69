//! Reads that decide what a write does, and how PostgreSQL locks the rows that they find.

use super::Write;
use crate::store::error::Result;
use crate::store::lock::Lock;

pub(super) const JOB: &str = concat!(include_str!("../sql/job_by_id.sql"), "FOR NO KEY UPDATE");
pub(super) const JOB_STATE: &str = concat!(include_str!("../sql/job_state.sql"), "FOR SHARE");
pub(super) const JOB_HELD: &str = concat!(include_str!("../sql/job_held.sql"), "FOR NO KEY UPDATE");
pub(super) const LEASE_HELD: &str = concat!(include_str!("../sql/lease_held.sql"), "FOR NO KEY UPDATE");
pub(super) const JOBS_WAITING: &str = concat!(include_str!("../sql/jobs_waiting.sql"), "FOR NO KEY UPDATE");
pub(super) const JOBS_OF_WORKER: &str = concat!(include_str!("../sql/jobs_of_worker.sql"), "FOR NO KEY UPDATE");
/// The next job that no other claim is taking.
pub(super) const NEXT_JOB: &str =
    concat!(include_str!("../sql/queue_next.sql"), "FOR NO KEY UPDATE OF job SKIP LOCKED");
/// A row that is locked is being dealt with: its worker has just been heard of, or another server expires it.
pub(super) const LEASE_OVERDUE: &str =
    concat!(include_str!("../sql/lease_overdue.sql"), "FOR NO KEY UPDATE SKIP LOCKED");
pub(super) const LATER_CHECKPOINTS: &str = concat!(
    include_str!("../sql/checkpoint_select.sql"),
    include_str!("../sql/checkpoints_later.sql"),
    "FOR UPDATE OF checkpoints"
);
pub(super) const DATASET: &str = concat!(include_str!("../sql/dataset_by_id.sql"), "FOR UPDATE");
pub(super) const DATASET_NAMED: &str = concat!(include_str!("../sql/dataset_by_name.sql"), "FOR UPDATE");
/// Forgets entries past their time; those that another process is deleting may stay until the next call.
pub(super) const EXPIRE_KEYS: &str = concat!(
    "DELETE FROM idempotency WHERE (key, route) IN (",
    include_str!("../sql/idempotency_expired.sql"),
    "FOR UPDATE SKIP LOCKED)"
);

/// A lock without a row, until the transaction ends.
const ADVISORY: &str = "SELECT pg_advisory_xact_lock($1)";
const NAMES: i64 = 22_088 << 48;
/// A claim takes it too, where projects have limits.
pub(super) const QUOTAS: i64 = 22_089 << 48;

/// Waits for its turn to decide upon something, and keeps it until the transaction ends.
pub(super) async fn take(tx: &mut Write, lock: Lock<'_>) -> Result<()> {
    let statement = match lock {
        Lock::Names => sqlx::query(ADVISORY).bind(NAMES),
        Lock::Quotas => sqlx::query(ADVISORY).bind(QUOTAS),
        Lock::Orphans => sqlx::query("LOCK TABLE orphans IN SHARE ROW EXCLUSIVE MODE"),
        Lock::JobsOfRun(id) => sqlx::query("SELECT 1 FROM jobs WHERE run_id = $1 ORDER BY id FOR UPDATE").bind(id),
        Lock::Run(id) => sqlx::query("SELECT 1 FROM runs WHERE id = $1 FOR NO KEY UPDATE").bind(id),
        Lock::Checkpoint(id) => sqlx::query("SELECT 1 FROM checkpoints WHERE id = $1 FOR UPDATE").bind(id),
    };
    statement.execute(&mut *tx).await?;
    Ok(())
}
