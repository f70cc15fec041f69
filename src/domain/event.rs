//! Events: what happened, in the order in which it happened. They are the history of a job and the feed of live
//! streams.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::dataset::DatasetState;
use crate::domain::job::JobState;
use crate::domain::metric::StepMetrics;
use crate::domain::model::{DownloadProgress, ModelState};

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Database sequence: grows with every event of the database, valid on every server; the id of live streams.
    pub seq: i64,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// The kind of event, such as `job` or `metrics`; those of the trainer are `warning.…`, e.g.
    /// `warning.constant_reward`.
    pub kind: String,
    /// The job.
    pub job_id: Option<String>,
    /// The run.
    pub run_id: Option<String>,
    /// Details; their schema depends on the kind.
    #[schema(value_type = Object)]
    pub data: Value,
}

/// Kinds of events that the store and the worker write.
pub mod kind {
    /// A job changed its state: [`super::JobChanged`].
    pub const JOB: &str = "job";
    /// A job waits because its project already runs as many jobs as it may: [`super::JobWaiting`].
    pub const JOB_WAITING: &str = "job.waiting";
    /// People changed a job's priority or labels: [`super::JobUpdated`].
    pub const JOB_UPDATED: &str = "job.updated";
    /// A run and everything that hung on it is gone: [`super::RunDeleted`].
    pub const RUN_DELETED: &str = "run.deleted";
    /// Metrics of one step: [`super::MetricsEvent`].
    pub const METRICS: &str = "metrics";
    /// Samples of one step were stored: [`super::SamplesEvent`].
    pub const SAMPLES: &str = "samples";
    /// A checkpoint was stored: [`super::CheckpointEvent`].
    pub const CHECKPOINT: &str = "checkpoint";
    /// A checkpoint was deleted: [`super::CheckpointEvent`].
    pub const CHECKPOINT_DELETED: &str = "checkpoint.deleted";
    /// A checkpoint's files do not match its manifest: [`super::CheckpointEvent`].
    pub const CHECKPOINT_DAMAGED: &str = "checkpoint.damaged";
    /// Everything beyond a step is about to be replaced: [`super::RewindEvent`].
    pub const REWIND: &str = "rewind";
    /// A data set changed its state: [`super::DatasetChanged`].
    pub const DATASET: &str = "dataset";
    /// A model is on its way in, has come, did not come or is gone: [`super::ModelChanged`].
    pub const MODEL: &str = "model";
    /// A rule of the job was met: [`AlertEvent`](crate::domain::alert::AlertEvent).
    pub const ALERT: &str = "alert";
    /// A worker process died: [`super::CrashEvent`].
    pub const WORKER_CRASHED: &str = "worker.crashed";
}

/// The schema of each kind's data in the API's document. Warnings of the trainer have a `message` in words.
pub const SCHEMAS: &[(&str, &str)] = &[
    (kind::JOB, "JobChanged"),
    (kind::JOB_WAITING, "JobWaiting"),
    (kind::JOB_UPDATED, "JobUpdated"),
    (kind::RUN_DELETED, "RunDeleted"),
    (kind::METRICS, "MetricsEvent"),
    (kind::SAMPLES, "SamplesEvent"),
    (kind::CHECKPOINT, "CheckpointEvent"),
    (kind::CHECKPOINT_DELETED, "CheckpointEvent"),
    (kind::CHECKPOINT_DAMAGED, "CheckpointEvent"),
    (kind::REWIND, "RewindEvent"),
    (kind::DATASET, "DatasetChanged"),
    (kind::MODEL, "ModelChanged"),
    (kind::WORKER_CRASHED, "CrashEvent"),
    (kind::ALERT, "AlertEvent"),
];

/// Data of [`kind::JOB`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobChanged {
    /// The state before; none at submission.
    pub from: Option<JobState>,
    /// The state now.
    pub to: JobState,
    /// Why.
    pub reason: String,
    /// The current attempt.
    pub attempt: u32,
    /// The worker involved, if any.
    pub worker_id: Option<String>,
}

/// Data of [`kind::JOB_WAITING`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobWaiting {
    /// The project.
    pub project: String,
    /// Its running jobs, or the GPUs that they use.
    pub running: u64,
    /// The limit.
    pub most: u64,
    /// The same as text.
    pub reason: String,
}

/// Data of [`kind::JOB_UPDATED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobUpdated {
    /// The priority now.
    pub priority: i64,
    /// The labels now.
    pub tags: BTreeMap<String, String>,
}

/// Data of [`kind::RUN_DELETED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunDeleted {
    /// The name it had.
    pub name: String,
    /// The checkpoints that were deleted with it.
    pub checkpoints: Vec<String>,
}

/// Data of [`kind::METRICS`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricsEvent {
    /// The step.
    pub step: u64,
    /// Responses since the beginning of the run.
    pub samples: u64,
    /// Response tokens since the beginning of the run.
    pub tokens: u64,
    /// Value by key; null if it is not finite.
    pub values: BTreeMap<String, Option<f64>>,
    /// The values that are not finite: `nan`, `inf` or `-inf`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nonfinite: BTreeMap<String, String>,
}

impl MetricsEvent {
    /// The event of one step's metrics.
    pub fn of(metrics: &StepMetrics) -> Self {
        let finite = |v: f64| v.is_finite().then_some(v);
        Self {
            step: metrics.step,
            samples: metrics.samples,
            tokens: metrics.tokens,
            values: metrics.values.iter().map(|(k, v)| (k.clone(), finite(*v))).collect(),
            nonfinite: metrics
                .values
                .iter()
                .filter_map(|(k, v)| Some((k.clone(), nonfinite_name(*v)?.to_owned())))
                .collect(),
        }
    }
}

/// The name of a number that JSON and SQL cannot hold; none for finite ones.
pub fn nonfinite_name(value: f64) -> Option<&'static str> {
    if value.is_finite() {
        None
    } else if value.is_nan() {
        Some("nan")
    } else if value > 0.0 {
        Some("inf")
    } else {
        Some("-inf")
    }
}

/// Data of [`kind::SAMPLES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SamplesEvent {
    /// The step.
    pub step: u64,
    /// Number of prompts with their groups of responses.
    pub groups: u64,
}

/// Data of the checkpoint events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointEvent {
    /// The checkpoint.
    pub checkpoint_id: String,
    /// Its step.
    pub step: u64,
    /// Held-out accuracy, if evaluated.
    pub accuracy: Option<f64>,
    /// What is wrong with it, or why it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Data of [`kind::REWIND`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RewindEvent {
    /// Points, samples and checkpoints of later steps were discarded and will be measured again; null: the run starts
    /// over, and those of step 0 were discarded as well.
    pub to_step: Option<u64>,
}

/// Data of [`kind::DATASET`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatasetChanged {
    /// The data set.
    pub dataset_id: String,
    /// Its name.
    pub name: String,
    /// The state before; none when it is new.
    pub from: Option<DatasetState>,
    /// The state now; none when it is gone.
    pub to: Option<DatasetState>,
}

/// Data of [`kind::MODEL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelChanged {
    /// The model's name.
    pub model: String,
    /// The state now; none when it is gone.
    pub state: Option<ModelState>,
    /// Progress of its download.
    pub progress: Option<DownloadProgress>,
    /// Why it failed.
    pub problem: Option<String>,
}

/// Data of [`kind::WORKER_CRASHED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CrashEvent {
    /// The worker.
    pub worker_id: String,
    /// How it ended, e.g. `killed by signal 9`.
    pub message: String,
    /// The exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal, if one ended it.
    pub signal: Option<i32>,
}

/// An event to be written; the store gives sequence and time.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What happened.
    pub kind: String,
    /// The job.
    pub job_id: Option<String>,
    /// The run.
    pub run_id: Option<String>,
    /// Whose it is, where no job tells: without both only admins see it.
    pub project: Option<String>,
    /// Details.
    pub data: Value,
}

/// Which events are wanted; an empty filter wants all. Jobs and runs add up: an event of any of them fits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// About one of these jobs.
    pub jobs: Vec<String>,
    /// About one of these runs.
    pub runs: Vec<String>,
    /// Of one of these kinds; `warning.*` matches every kind that begins with `warning.`.
    pub kinds: Vec<String>,
    /// Of one of these projects.
    pub projects: Vec<String>,
}

/// Which events are still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSpan {
    /// The oldest sequence number kept; none when there are no events.
    pub first: Option<i64>,
    /// The newest sequence number ever given (0: none yet).
    pub last: i64,
}
