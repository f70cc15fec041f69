//! The one way in which a job changes its state: row, event and waiting jobs in the same transaction.

use sqlx::Row as _;

use crate::domain::job::{Job, JobAction, JobState, Transition};
use crate::domain::stored::StoredSpec;
use crate::store::change::{Change, decide, hopeless_reason, takes_waiting_along};
use crate::store::error::{Result, StoreError};
use crate::store::lineage::awaited;
use crate::store::rows;

use super::{Write, events};

const LOAD: &str = "SELECT * FROM jobs WHERE id = ?";
const UPDATE: &str = include_str!("../sql/job_transition.sql");
const RUN: &str = "SELECT best_checkpoint, last_checkpoint FROM runs WHERE id = ?";
const RUN_OF_JOB: &str =
    "SELECT best_checkpoint, last_checkpoint FROM runs WHERE id = (SELECT run_id FROM jobs WHERE jobs.id = ?)";
const JOB_MODEL: &str = include_str!("sql/job_model.sql");
const RUN_MODEL: &str = "UPDATE runs SET model = ? WHERE id = ?";
const WAITING: &str = "SELECT * FROM jobs WHERE after_job = ? AND state = 'queued' ORDER BY id";

/// Reads a job inside a transaction.
pub(super) async fn load(tx: &mut Write, id: &str) -> Result<Job> {
    let row = sqlx::query(LOAD).bind(id).fetch_optional(&mut *tx).await?;
    rows::job(&row.ok_or_else(|| StoreError::NotFound { kind: "job", id: id.to_owned() })?)
}

/// Changes `job` and, when it can no longer succeed, cancels the jobs that wait for it. Returns the job as it is now.
/// `Conflict` when the table of states forbids the change.
pub(super) async fn apply(tx: &mut Write, now: i64, job: &Job, change: &Change<'_>) -> Result<Job> {
    let changed = apply_one(tx, now, job, change).await?;
    if changed.state == JobState::Succeeded {
        for row in sqlx::query(WAITING).bind(&changed.id).fetch_all(&mut *tx).await? {
            settle_model(tx, rows::job(&row)?).await?;
        }
    }
    let mut ended = Vec::new();
    if takes_waiting_along(&changed) {
        ended.push(changed.clone());
    }
    while let Some(parent) = ended.pop() {
        for row in sqlx::query(WAITING).bind(&parent.id).fetch_all(&mut *tx).await? {
            let cancel = Change::new(Transition::Asked(JobAction::Cancel), hopeless_reason(&parent));
            ended.push(apply_one(tx, now, &rows::job(&row)?, &cancel).await?);
        }
    }
    Ok(changed)
}

/// A job that was to start from what another one makes (`job_…`, `run_…@best`, `run_…@last`) starts from a checkpoint
/// once that one has ended: from then on its model is fixed. Returns the job as it is now.
pub(super) async fn settle_model(tx: &mut Write, mut job: Job) -> Result<Job> {
    // A later program settles its own.
    let StoredSpec::Known(spec) = &mut job.spec else { return Ok(job) };
    let Some(awaited) = awaited(&spec.model) else { return Ok(job) };
    let sql = if awaited.by_job { RUN_OF_JOB } else { RUN };
    let Some(row) = sqlx::query(sql).bind(awaited.maker).fetch_optional(&mut *tx).await? else { return Ok(job) };
    let Some(checkpoint) = row.try_get::<Option<String>, _>(awaited.column)? else { return Ok(job) };
    spec.model.clone_from(&checkpoint);
    sqlx::query(JOB_MODEL).bind(&job.id).bind(&checkpoint).bind(rows::to_json(spec)?).execute(&mut *tx).await?;
    sqlx::query(RUN_MODEL).bind(&checkpoint).bind(&job.run_id).execute(&mut *tx).await?;
    Ok(job)
}

async fn apply_one(tx: &mut Write, now: i64, job: &Job, change: &Change<'_>) -> Result<Job> {
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
    rows::job_after(job, &row)
}
