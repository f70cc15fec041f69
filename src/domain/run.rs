//! Runs: what a job produced.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::job::JobState;
use crate::domain::sweep::SweepPoint;

/// The results of a job: metrics, samples and checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// `run_…`; sorts by creation time.
    pub id: String,
    /// Its job; the newest one of a continued run.
    pub job_id: String,
    /// A display name.
    pub name: String,
    /// The project it belongs to.
    pub project: String,
    /// Who submitted the job.
    pub created_by: Option<String>,
    /// Free text.
    pub notes: Option<String>,
    /// Free tags: names with values.
    pub tags: BTreeMap<String, String>,
    /// The state of its job.
    pub state: JobState,
    /// The model or checkpoint it started from.
    pub model: String,
    /// The registered model that it was trained from.
    pub base_model: Option<String>,
    /// The sweep that it belongs to.
    pub sweep: Option<SweepPoint>,
    /// The data set it trains on.
    pub dataset: String,
    /// `method.type` of the settings.
    pub method: String,
    /// Number of steps in the settings.
    pub steps: u64,
    /// The last step that reported metrics; none before the first.
    pub last_step: Option<u64>,
    /// Held-out accuracy at the newest evaluation.
    pub last_accuracy: Option<f64>,
    /// Best held-out accuracy so far.
    pub best_accuracy: Option<f64>,
    /// The checkpoint with the best value of the settings' `best.metric`, by default held-out accuracy (the earliest of
    /// equals); the last one if there are no measurements.
    pub best_checkpoint: Option<String>,
    /// The newest checkpoint.
    pub last_checkpoint: Option<String>,
    /// When its job was submitted.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When its job was first claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When its job reached a final state.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Which runs a list holds; an empty filter holds all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunFilter {
    /// Whose job is in one of these states (empty: any).
    pub states: Vec<JobState>,
    /// Of this project.
    pub project: Option<String>,
    /// That started from this model.
    pub model: Option<String>,
    /// That train on this data set.
    pub dataset: Option<String>,
    /// With this tag and value (none: any value).
    pub tag: Option<(String, Option<String>)>,
    /// Of this sweep.
    pub sweep: Option<String>,
}

/// A run was continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// Steps beyond the run's newest checkpoint.
    pub steps: u64,
    /// Who asks.
    pub created_by: Option<String>,
}

/// Changes to a run; absent fields stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunUpdate {
    /// A new name.
    pub name: Option<String>,
    /// New notes; an empty string removes them.
    pub notes: Option<String>,
    /// New tags; they replace all old ones.
    pub tags: Option<BTreeMap<String, String>>,
}
