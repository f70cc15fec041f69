//! Changes of a job's state: which columns and which event follow from one, whatever the database.

use std::borrow::Cow;

use serde::Serialize;

use crate::domain::checkpoint::{Checkpoint, checkpoint_folder};
use crate::domain::dataset::{DatasetRecord, DatasetState};
use crate::domain::eval_row::rows_folder;
use crate::domain::event::{DatasetChanged, JobChanged, JobUpdated, NewEvent, RunDeleted, kind};
use crate::domain::job::{Job, JobState, LeaseToken, Transition};
use crate::domain::run::Run;
use crate::store::error::{Result, StoreError};

/// A change of state with its circumstances.
pub(super) struct Change<'a> {
    /// What happens.
    pub transition: Transition,
    /// Why, for people.
    pub reason: Cow<'a, str>,
    /// The worker that takes the job, and the end of its lease; a lease ends with every state that has none.
    pub lease: Option<(&'a str, i64)>,
    /// Attempts used from now on; none: as before.
    pub attempts_used: Option<u32>,
    /// Not claimed before this time.
    pub not_before: Option<i64>,
}

impl<'a> Change<'a> {
    /// A change of the state alone.
    pub(super) fn new(transition: Transition, reason: impl Into<Cow<'a, str>>) -> Self {
        Self { transition, reason: reason.into(), lease: None, attempts_used: None, not_before: None }
    }

    /// Takes a job from its worker after a failure: back to the queue, or failed when that was the last attempt. A
    /// job with a pending pause or cancel is paused or cancelled, whatever its attempts.
    pub(super) fn put_back(job: &Job, reason: &'a str, not_before: Option<i64>) -> Self {
        if job.state == JobState::Running && job.attempts_used >= job.max_attempts {
            let reason = format!("{reason} (attempt {} of {})", job.attempts_used, job.max_attempts);
            return Self::new(Transition::Fail, reason);
        }
        Self { not_before, ..Self::new(Transition::Requeue, reason) }
    }
}

/// The columns of a job that a change writes, and its event.
pub(super) struct Outcome<'a> {
    /// The new state.
    pub to: JobState,
    /// The fencing token.
    pub attempt: u32,
    /// Attempts used.
    pub attempts_used: u32,
    /// Worker and end of the lease.
    pub lease: Option<(&'a str, i64)>,
    /// The pending request of a user, if any.
    pub asked: Option<&'static str>,
    /// The event.
    pub event: NewEvent,
}

/// Applies the table of states. `IllegalAction` for an action of a user, `Conflict` for anything else
/// that the table forbids.
pub(super) fn decide<'a>(job: &'a Job, change: &Change<'a>) -> Result<Outcome<'a>> {
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
    let data = JobChanged {
        from: Some(job.state),
        to,
        reason: change.reason.clone().into_owned(),
        attempt,
        worker_id: lease.or(held_by).map(|(worker, _)| worker.to_owned()),
    };
    let attempts_used = change.attempts_used.unwrap_or(job.attempts_used);
    let asked = match change.transition {
        Transition::Asked(action) => Some(action.name()),
        _ => None,
    };
    Ok(Outcome { to, attempt, attempts_used, lease, asked, event: job_event(job, &data)? })
}

/// Does the end of this job end the ones that wait for it?
pub(super) fn takes_waiting_along(job: &Job) -> bool {
    matches!(job.state, JobState::Failed | JobState::Cancelled)
}

/// Why a job that waits for `parent` is cancelled.
pub(super) fn hopeless_reason(parent: &Job) -> String {
    format!("it waits for {}, which is {}", parent.id, parent.state)
}

/// Why an expired job goes back.
pub(super) fn expiry_reason(job: &Job) -> String {
    format!("lease expired: nothing heard of {}", job.lease.as_ref().map_or("", |l| l.worker_id.as_str()))
}

/// The event of a job's new state.
pub(super) fn job_event(job: &Job, data: &JobChanged) -> Result<NewEvent> {
    event_about(job, kind::JOB, data)
}

/// The first event of a job.
pub(super) fn first_event(job: &Job, reason: &str) -> Result<NewEvent> {
    let reason = reason.to_owned();
    job_event(job, &JobChanged { from: None, to: JobState::Queued, reason, attempt: 0, worker_id: None })
}

/// The event of a job's new priority and labels.
pub(super) fn updated_event(job: &Job) -> Result<NewEvent> {
    event_about(job, kind::JOB_UPDATED, &JobUpdated { priority: job.priority, tags: job.tags.clone() })
}

fn event_about(job: &Job, kind: &str, data: &impl Serialize) -> Result<NewEvent> {
    Ok(NewEvent {
        kind: kind.to_owned(),
        job_id: Some(job.id.clone()),
        run_id: Some(job.run_id.clone()),
        project: None,
        data: event_data(data)?,
    })
}

/// The event of a run that is gone with its checkpoints.
pub(super) fn run_deleted_event(run: Run, checkpoints: &[Checkpoint]) -> Result<NewEvent> {
    let checkpoints = checkpoints.iter().map(|c| c.id.clone()).collect();
    Ok(NewEvent {
        kind: kind::RUN_DELETED.to_owned(),
        job_id: Some(run.job_id),
        run_id: Some(run.id),
        project: Some(run.project),
        data: event_data(&RunDeleted { name: run.name, checkpoints })?,
    })
}

/// An event of a worker about its job and run.
pub(super) fn leased_event(token: &LeaseToken, kind: &str, data: serde_json::Value) -> NewEvent {
    NewEvent {
        kind: kind.to_owned(),
        job_id: Some(token.job_id.clone()),
        run_id: Some(token.run_id.clone()),
        project: None,
        data,
    }
}

/// The event of a data set's new state.
pub(super) fn dataset_event(
    dataset: &DatasetRecord,
    from: Option<DatasetState>,
    to: Option<DatasetState>,
) -> Result<NewEvent> {
    let changed = DatasetChanged { dataset_id: dataset.id.clone(), name: dataset.name.clone(), from, to };
    Ok(NewEvent {
        kind: kind::DATASET.to_owned(),
        job_id: None,
        run_id: None,
        project: Some(dataset.project.clone()),
        data: event_data(&changed)?,
    })
}

/// The data of an event as JSON.
pub(super) fn event_data(value: &impl Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(value)
        .map_err(|e| StoreError::Damaged { what: "event data".to_owned(), problem: e.to_string() })
}

/// The answer to a caller who asks for a name that another project has, which is not told.
pub(super) fn taken(name: &str) -> StoreError {
    StoreError::Conflict(format!("the name `{name}` is taken; choose another one"))
}

/// Only a data set that is being uploaded or checked changes: what another process has made of it in the meantime
/// stays.
pub(super) fn refuse_settled(dataset: &DatasetRecord) -> Result<()> {
    if matches!(dataset.state, DatasetState::Uploading | DatasetState::Validating) {
        return Ok(());
    }
    let (name, state) = (&dataset.name, dataset.state.name());
    Err(StoreError::Conflict(format!("data set `{name}` is {state} by now")))
}

/// Everything that the artifact store may hold of a run: its checkpoints, recorded or not, and the rows of evaluations.
pub(super) fn run_artifacts(run_id: &str, checkpoints: &[Checkpoint]) -> Vec<String> {
    let recorded = checkpoints.iter().map(|checkpoint| checkpoint.key.clone());
    recorded.chain([checkpoint_folder(run_id), rows_folder(run_id)]).collect()
}
