//! Reads that decide what a write does. A write transaction of SQLite has the file for itself: nothing else is to be
//! locked.

use std::future::{Ready, ready};

use super::Write;
use crate::store::error::Result;
use crate::store::lock::Lock;

pub(super) const JOB: &str = include_str!("../sql/job_by_id.sql");
pub(super) const JOB_STATE: &str = include_str!("../sql/job_state.sql");
pub(super) const JOB_HELD: &str = include_str!("../sql/job_held.sql");
pub(super) const LEASE_HELD: &str = include_str!("../sql/lease_held.sql");
pub(super) const JOBS_WAITING: &str = include_str!("../sql/jobs_waiting.sql");
pub(super) const JOBS_OF_WORKER: &str = include_str!("../sql/jobs_of_worker.sql");
pub(super) const NEXT_JOB: &str = include_str!("../sql/queue_next.sql");
pub(super) const LEASE_OVERDUE: &str = include_str!("../sql/lease_overdue.sql");
pub(super) const LATER_CHECKPOINTS: &str =
    concat!(include_str!("../sql/checkpoint_select.sql"), include_str!("../sql/checkpoints_later.sql"));
pub(super) const DATASET: &str = include_str!("../sql/dataset_by_id.sql");
pub(super) const DATASET_NAMED: &str = include_str!("../sql/dataset_by_name.sql");
/// Forgets entries past their time.
pub(super) const EXPIRE_KEYS: &str =
    concat!("DELETE FROM idempotency WHERE (key, route) IN (", include_str!("../sql/idempotency_expired.sql"), ")");

/// The transaction holds every lock.
pub(super) fn take(_tx: &mut Write, _lock: Lock<'_>) -> Ready<Result<()>> {
    ready(Ok(()))
}
