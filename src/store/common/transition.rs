//! The one way in which a job changes its state: row, event and waiting jobs in the same transaction.

use sqlx::Row as _;

use crate::domain::job::{Job, JobAction, JobState, LeaseToken, Transition};
use crate::domain::stored::StoredSpec;
use crate::store::change::{Change, hopeless_reason, takes_waiting_along};
use crate::store::error::{Result, lease_lost};
use crate::store::json::to_json;
use crate::store::lineage::awaited;
use crate::store::rows;

use super::{Write, claim, existing, locks};

const RUN: &str = "SELECT best_checkpoint, last_checkpoint FROM runs WHERE id = $1";
const RUN_OF_JOB: &str =
    "SELECT best_checkpoint, last_checkpoint FROM runs WHERE id = (SELECT run_id FROM jobs WHERE jobs.id = $1)";
const JOB_MODEL: &str = include_str!("../sql/job_model.sql");
const RUN_MODEL: &str = "UPDATE runs SET model = $1 WHERE id = $2";

/// Reads and locks a job.
pub(super) async fn load(tx: &mut Write, id: &str) -> Result<Job> {
    let row = sqlx::query(locks::JOB).bind(id).fetch_optional(&mut *tx).await?;
    rows::job(&existing(row, "job", id)?)
}

/// Reads and locks the job that the token's attempt holds.
pub(super) async fn load_held(tx: &mut Write, token: &LeaseToken) -> Result<Job> {
    let row = sqlx::query(locks::JOB_HELD)
        .bind(&token.job_id)
        .bind(&token.run_id)
        .bind(i64::from(token.attempt))
        .fetch_optional(&mut *tx)
        .await?;
    rows::job(&row.ok_or_else(|| lease_lost(token))?)
}

/// Changes a locked `job` and, when it can no longer succeed, cancels the jobs that wait for it. Returns the job as it
/// is now. `Conflict` when the table of states forbids the change.
pub(super) async fn apply(tx: &mut Write, now: i64, job: &Job, change: &Change<'_>) -> Result<Job> {
    let Applied { job: changed, awaited } = claim::write_transition(tx, now, job, change).await?;
    if !awaited {
        return Ok(changed);
    }
    if changed.state == JobState::Succeeded {
        for row in sqlx::query(locks::JOBS_WAITING).bind(&changed.id).fetch_all(&mut *tx).await? {
            settle_model(tx, rows::job(&row)?).await?;
        }
    }
    let mut ended = Vec::new();
    if takes_waiting_along(&changed) {
        ended.push(changed.clone());
    }
    while let Some(parent) = ended.pop() {
        for row in sqlx::query(locks::JOBS_WAITING).bind(&parent.id).fetch_all(&mut *tx).await? {
            let cancel = Change::new(Transition::Asked(JobAction::Cancel), hopeless_reason(&parent));
            let applied = claim::write_transition(tx, now, &rows::job(&row)?, &cancel).await?;
            ended.extend(applied.awaited.then_some(applied.job));
        }
    }
    Ok(changed)
}

/// A job that was to start from what another one makes (`job_…`, `run_…@best`, `run_…@last`) starts from a checkpoint
/// once that one has ended: from then on its model is fixed. Returns the job as it is now.
pub(super) async fn settle_model(tx: &mut Write, mut job: Job) -> Result<Job> {
    // The model of a job of a later program is left to that program.
    let StoredSpec::Known(spec) = &mut job.spec else { return Ok(job) };
    let Some(awaited) = awaited(&spec.model) else { return Ok(job) };
    let sql = if awaited.by_job { RUN_OF_JOB } else { RUN };
    let Some(row) = sqlx::query(sql).bind(awaited.maker).fetch_optional(&mut *tx).await? else { return Ok(job) };
    let Some(checkpoint) = row.try_get::<Option<String>, _>(awaited.column)? else { return Ok(job) };
    spec.model.clone_from(&checkpoint);
    sqlx::query(JOB_MODEL).bind(&job.id).bind(&checkpoint).bind(to_json(spec)?).execute(&mut *tx).await?;
    sqlx::query(RUN_MODEL).bind(&checkpoint).bind(&job.run_id).execute(&mut *tx).await?;
    Ok(job)
}

/// A job after a transition.
pub(in super::super) struct Applied {
    /// The job as it is now.
    pub job: Job,
    /// May other jobs wait for it?
    pub awaited: bool,
}
