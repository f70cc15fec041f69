//! Settings of jobs as other builds stored them: what jobs did before a setting existed, and settings that this build cannot
//! read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::evaluation::{BestSpec, Direction, EvalSpec};
use super::metric::EVAL_ACCURACY;
use super::spec::JobSpec;

/// The settings of a stored job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StoredSpec {
    /// Settings of a form that this program knows.
    Known(Box<JobSpec>),
    /// Settings that a later program stored. They can be shown, and the job cancelled; it cannot be run, nor anything that
    /// needs their meaning.
    Later(Value),
}

impl StoredSpec {
    /// The settings, where this program knows their form.
    pub fn known(&self) -> Option<&JobSpec> {
        match self {
            Self::Known(spec) => Some(spec),
            Self::Later(_) => None,
        }
    }
}

impl From<JobSpec> for StoredSpec {
    fn from(spec: JobSpec) -> Self {
        Self::Known(Box::new(spec))
    }
}

/// One answer a row, the likeliest.
pub(super) fn eval() -> EvalSpec {
    EvalSpec { samples: 1, temperature: 0.0, top_p: 1.0 }
}

/// Held-out accuracy.
pub(super) fn best() -> BestSpec {
    BestSpec { metric: EVAL_ACCURACY.to_owned(), better: Direction::Higher }
}

/// The end of a cosine schedule.
pub(super) fn schedule_floor() -> f64 {
    0.05
}
