//! The one way in which a job changes its state: row, event and waiting jobs in the same transaction.

use sqlx::Row as _;

use crate::domain::event::{JobChanged, NewEvent, kind};
use crate::domain::job::{Job, JobAction, JobState, Transition};
use crate::store::error::{Result, StoreError};

use super::{Write, events, rows};

const LOAD: &str = "SELECT * FROM jobs WHERE id = ?";
const UPDATE: &str = include_str!("sql/job_transition.sql");
const RUN: &str = "SELECT best_checkpoint, last_checkpoint FROM runs WHERE id = ?";
const RUN_OF_JOB: &str =
    "SELECT best_checkpoint, last_checkpoint FROM runs WHERE id = (SELECT run_id FROM jobs WHERE jobs.id = ?)";
const JOB_MODEL: &str = include_str!("sql/job_model.sql");
const RUN_MODEL: &str = "UPDATE runs SET model = ? WHERE id = ?";
const WAITING: &str = "SELECT * FROM jobs WHERE after_job = ? AND state = 'queued' ORDER BY id";

/// A change of state and what comes with it.
pub(super) struct Change<'a> {
    /// What happens.
    pub transition: Transition,
    /// Why, for people.
    pub reason: &'a str,
    /// Who takes the job and until when; a lease ends with every state that has none.
    pub lease: Option<(&'a str, i64)>,
    /// Attempts used from now on; none: as before.
    pub attempts_used: Option<u32>,
    /// Not claimed before this time.
    pub not_before: Option<i64>,
}

impl<'a> Change<'a> {
    /// A change of the state alone.
    pub(super) fn new(transition: Transition, reason: &'a str) -> Self {
        Self { transition, reason, lease: None, attempts_used: None, not_before: None }
    }
}

/// Reads a job inside a transaction.
pub(super) async fn load(tx: &mut Write, id: &str) -> Result<Job> {
    let row = sqlx::query(LOAD).bind(id).fetch_optional(&mut **tx).await?;
    rows::job(&row.ok_or_else(|| StoreError::NotFound { kind: "job", id: id.to_owned() })?)
}

/// Changes `job` and, when it can no longer succeed, cancels the jobs that wait for it. Returns the job as it is now.
/// `Conflict` when the table of states forbids the change.
pub(super) async fn apply(tx: &mut Write, now: i64, job: &Job, change: &Change<'_>) -> Result<Job> {
    let changed = apply_one(tx, now, job, change).await?;
    if changed.state == JobState::Succeeded {
        for row in sqlx::query(WAITING).bind(&changed.id).fetch_all(&mut **tx).await? {
            settle_model(tx, rows::job(&row)?).await?;
        }
    }
    let mut ended = Vec::new();
    if matches!(changed.state, JobState::Failed | JobState::Cancelled) {
        ended.push(changed.clone());
    }
    while let Some(parent) = ended.pop() {
        for row in sqlx::query(WAITING).bind(&parent.id).fetch_all(&mut **tx).await? {
            let waiting = rows::job(&row)?;
            let reason = format!("it waits for {}, which is {}", parent.id, parent.state);
            let cancel = Change::new(Transition::Asked(JobAction::Cancel), &reason);
            ended.push(apply_one(tx, now, &waiting, &cancel).await?);
        }
    }
    Ok(changed)
}

/// A job that was to start from what another one makes (`job_…`, `run_…@best`, `run_…@last`) starts from a checkpoint
/// once that one has ended: from then on its model is fixed. Returns the job as it is now.
pub(super) async fn settle_model(tx: &mut Write, mut job: Job) -> Result<Job> {
    let (column, sql) = match job.spec.model.split_once('@') {
        Some((_, "best")) => ("best_checkpoint", RUN),
        Some((_, "last")) => ("last_checkpoint", RUN),
        None if job.spec.model.starts_with("job_") => ("last_checkpoint", RUN_OF_JOB),
        _ => return Ok(job),
    };
    let name = job.spec.model.split('@').next().unwrap_or_default();
    let Some(row) = sqlx::query(sql).bind(name).fetch_optional(&mut **tx).await? else { return Ok(job) };
    let Some(checkpoint) = row.try_get::<Option<String>, _>(column)? else { return Ok(job) };
    job.spec.model.clone_from(&checkpoint);
    sqlx::query(JOB_MODEL).bind(&job.id).bind(&checkpoint).bind(rows::to_json(&job.spec)?).execute(&mut **tx).await?;
    sqlx::query(RUN_MODEL).bind(&checkpoint).bind(&job.run_id).execute(&mut **tx).await?;
    Ok(job)
}

async fn apply_one(tx: &mut Write, now: i64, job: &Job, change: &Change<'_>) -> Result<Job> {
    let Some(to) = job.state.can(change.transition) else {
        return Err(match change.transition {
            Transition::Asked(action) => StoreError::IllegalAction {
                job_id: job.id.clone(),
                state: job.state,
                action,
                allowed: job.state.allowed(),
            },
            other => StoreError::Conflict(format!("job `{}` is {}: {other:?} is not possible", job.id, job.state)),
        });
    };
    let attempt = job.attempt + u32::from(change.transition == Transition::Claim);
    let held_by = job.lease.as_ref().map(|l| (l.worker_id.as_str(), l.expires_at.timestamp_millis()));
    let lease = if to.is_leased() { change.lease.or(held_by) } else { None };
    let row = sqlx::query(UPDATE)
        .bind(&job.id)
        .bind(to.name())
        .bind(change.reason)
        .bind(i64::from(attempt))
        .bind(i64::from(change.attempts_used.unwrap_or(job.attempts_used)))
        .bind(lease.map(|(worker, _)| worker))
        .bind(lease.map(|(_, expires)| expires))
        .bind(change.not_before)
        .bind(now)
        .bind(to.is_final())
        .bind(match change.transition {
            Transition::Asked(action) => Some(action.name()),
            _ => None,
        })
        .fetch_one(&mut **tx)
        .await?;
    let data = JobChanged {
        from: Some(job.state),
        to,
        reason: change.reason.to_owned(),
        attempt,
        worker_id: lease.or(held_by).map(|(worker, _)| worker.to_owned()),
    };
    events::insert(tx, now, &job_event(job, &data)?).await?;
    rows::job(&row)
}

/// The event of a job's new state.
pub(super) fn job_event(job: &Job, data: &JobChanged) -> Result<NewEvent> {
    Ok(NewEvent {
        kind: kind::JOB.to_owned(),
        job_id: Some(job.id.clone()),
        run_id: Some(job.run_id.clone()),
        data: events::data(data)?,
    })
}
