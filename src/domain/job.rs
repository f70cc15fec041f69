//! Jobs: their settings, state and lease.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::spec::{DeviceClass, JobSpec};
use crate::domain::stored::StoredSpec;
use crate::domain::sweep::SweepPoint;

/// A fine-tuning job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// `job_…`; sorts by creation time.
    pub id: String,
    /// The run that holds the job's metrics, samples and checkpoints.
    pub run_id: String,
    /// A display name.
    pub name: String,
    /// The project it belongs to.
    pub project: String,
    /// Who submitted it; none without access keys.
    pub created_by: Option<String>,
    /// Free tags: names with values.
    pub tags: BTreeMap<String, String>,
    /// Its state.
    pub state: JobState,
    /// The reason of the last transition.
    pub reason: Option<String>,
    /// Higher runs first; equal ones in the order of submission.
    pub priority: i64,
    /// The resolved settings. A newer version may have stored other settings than those described here; such a job is
    /// returned as stored, and only that version can run it.
    #[schema(value_type = JobSpec)]
    pub spec: StoredSpec,
    /// Origin of each resolved value: JSON pointer -> origin.
    #[schema(value_type = Object)]
    pub origins: Value,
    /// Fencing token: how often the job was claimed. Never falls; a worker whose attempt is older cannot write.
    pub attempt: u32,
    /// Attempts that count against `max_attempts`; orderly releases (drain, pause) do not count.
    pub attempts_used: u32,
    /// Maximum number of attempts before the job fails.
    pub max_attempts: u32,
    /// The lease, while a worker has one.
    pub lease: Option<Lease>,
    /// The kind of device it may run on.
    pub device: DeviceClass,
    /// Do not start before this job has succeeded.
    pub after: Option<String>,
    /// Not claimed before this time (a scheduled start, or the pause after a transient failure).
    pub not_before: Option<DateTime<Utc>>,
    /// The last request about the job; repeating it succeeds and changes nothing.
    pub asked: Option<JobAction>,
    /// The sweep that it belongs to.
    pub sweep: Option<SweepPoint>,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
    /// When any of the above last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was first claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it reached a final state.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The longest pause before another attempt. One that is further off was written by a host whose clock is ahead, and
/// is over.
pub const LONGEST_RETRY_PAUSE: Duration = Duration::from_mins(5);

/// A worker's lease of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// The worker.
    pub worker_id: String,
    /// Without a heartbeat by then, the job returns to the queue.
    pub expires_at: DateTime<Utc>,
}

/// Proves that a worker holds a job: every write of a worker carries it, and fails once it is outdated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseToken {
    /// The job.
    pub job_id: String,
    /// Its run.
    pub run_id: String,
    /// The attempt that the claim began.
    pub attempt: u32,
}

/// A job together with the proof that it was claimed.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedJob {
    /// The job as it was when it was claimed.
    pub job: Job,
    /// Its settings; a job whose settings cannot be read is never claimed.
    pub spec: JobSpec,
    /// To be carried by every write.
    pub token: LeaseToken,
}

impl LeasedJob {
    /// None for a job whose settings cannot be read.
    pub fn new(job: Job, token: LeaseToken) -> Option<Self> {
        let spec = job.spec.known()?.clone();
        Some(Self { job, spec, token })
    }
}

/// The state of a [`Job`].
///
/// | transition | from | to | when |
/// |---|---|---|---|
/// | claim | queued | running | a worker takes the job |
/// | complete | running, pausing | succeeded | the trainer reached its last step |
/// | | cancelling | cancelled | an accepted cancel takes precedence over a later finish |
/// | fail | running, pausing | failed | a permanent error, or the attempts are used up |
/// | | cancelling | cancelled | |
/// | requeue | running | queued | lost lease, drain, crash, or a transient error |
/// | | pausing | paused | the worker stopped as requested |
/// | | cancelling | cancelled | the worker stopped as requested |
/// | pause | running | pausing | on request; repeating it (pausing, paused) changes nothing |
/// | resume | paused | queued | on request; repeating it while the job is queued or running changes nothing |
/// | cancel | queued, paused | cancelled | on request; no worker has the job |
/// | | running, pausing | cancelling | on request; the worker stops at the next phase |
/// | | cancelling, cancelled | unchanged | repeating a cancel changes nothing |
/// | retry | failed, cancelled | queued | on request; all attempts are available again; repeating it as for resume |
///
/// Every transition is an event with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a worker.
    Queued,
    /// A worker holds it.
    Running,
    /// A worker holds it and was asked to save and let go.
    Pausing,
    /// Waits until it is resumed.
    Paused,
    /// A worker holds it and was asked to stop.
    Cancelling,
    /// Done.
    Succeeded,
    /// Ended by an error.
    Failed,
    /// Ended on request.
    Cancelled,
}

/// What can happen to a job; see the table at [`JobState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// A worker takes it.
    Claim,
    /// The trainer reached its last step.
    Complete,
    /// It cannot succeed.
    Fail,
    /// Its worker is gone or lets go.
    Requeue,
    /// A request of a user.
    Asked(JobAction),
}

/// Requests about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobAction {
    /// Save and let go until resumed.
    Pause,
    /// Queue again after a pause.
    Resume,
    /// End it.
    Cancel,
    /// Queue again after it failed or was cancelled.
    Retry,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state after `transition`, or none where the transition is illegal. The one place that knows the table.
    pub fn can(self, transition: Transition) -> Option<Self> {
        use JobAction::{Cancel, Pause, Resume, Retry};
        use Transition::{Asked, Claim, Complete, Fail, Requeue};
        Some(match (self, transition) {
            (Self::Queued, Claim) => Self::Running,
            (Self::Running | Self::Pausing, Complete) => Self::Succeeded,
            (Self::Running | Self::Pausing, Fail) => Self::Failed,
            (Self::Running, Requeue)
            | (Self::Paused, Asked(Resume))
            | (Self::Failed | Self::Cancelled, Asked(Retry)) => Self::Queued,
            (Self::Pausing, Requeue) | (Self::Paused, Asked(Pause)) => Self::Paused,
            (Self::Running | Self::Pausing, Asked(Pause)) => Self::Pausing,
            (Self::Cancelling, Complete | Fail | Requeue)
            | (Self::Queued | Self::Paused | Self::Cancelled, Asked(Cancel)) => Self::Cancelled,
            (Self::Running | Self::Pausing | Self::Cancelling, Asked(Cancel)) => Self::Cancelling,
            _ => return None,
        })
    }

    /// Is asking for `action` once more a repeat, where it was the last request? It led to this state or to one after
    /// it.
    pub fn repeats(self, action: JobAction) -> bool {
        let begun = matches!(self, Self::Queued | Self::Running);
        let again = matches!(action, JobAction::Resume | JobAction::Retry);
        (begun && again) || self.can(Transition::Asked(action)) == Some(self)
    }

    /// What may be asked of a job in this state (repeats that change nothing included).
    pub fn allowed(self) -> Vec<JobAction> {
        JobAction::ALL.into_iter().filter(|a| self.can(Transition::Asked(*a)).is_some()).collect()
    }

    /// Does a worker hold the job in this state?
    pub fn is_leased(self) -> bool {
        matches!(self, Self::Running | Self::Pausing | Self::Cancelling)
    }

    /// Has the job ended (unless it is retried)?
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The name used in JSON and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl JobAction {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Cancel, Self::Retry];

    /// The name used in paths and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }

    /// Why the action is refused for a job in `state`, and what may be asked instead.
    pub fn refused(self, job: &str, state: JobState, allowed: &[Self]) -> String {
        let allowed: Vec<&str> = allowed.iter().map(|action| action.name()).collect();
        let instead = if allowed.is_empty() { String::new() } else { format!("; possible: {}", allowed.join(", ")) };
        format!("cannot {self} job `{job}`: its state is {state}{instead}")
    }

    /// The action of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

impl std::fmt::Display for JobAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The answer to a heartbeat of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Continue.
    Continue,
    /// Save a checkpoint and stop: the job was paused.
    Pause,
    /// Stop: the job was cancelled.
    Cancel,
}

/// A job to be inserted, with the run that will hold its results.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// The resolved settings; name, project, tags, priority, device, `after` and `max_attempts` are read from it.
    pub spec: JobSpec,
    /// Where each resolved value came from.
    pub origins: Value,
    /// Who submits it.
    pub created_by: Option<String>,
    /// The registered model that its model grew from; that model itself where it is one.
    pub base_model: Option<String>,
    /// The whole address of `alerts.webhook`, of which the settings hold the host alone.
    pub alert_webhook: Option<String>,
}

/// Changes to a job that has not ended; absent fields stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobUpdate {
    /// A new priority.
    pub priority: Option<i64>,
    /// New tags; they replace all old ones.
    pub tags: Option<BTreeMap<String, String>>,
}

/// Which jobs a list holds; an empty filter holds all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// In one of these states (empty: any).
    pub states: Vec<JobState>,
    /// Of this project.
    pub project: Option<String>,
    /// That start from this model.
    pub model: Option<String>,
    /// With this tag and value (none: any value).
    pub tag: Option<(String, Option<String>)>,
    /// Of this sweep.
    pub sweep: Option<String>,
}
