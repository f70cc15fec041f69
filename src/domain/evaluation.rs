//! How a run is judged: how held-out rows are answered, and which metric decides about its best checkpoint and its end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a higher or lower metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

impl Direction {
    /// The value on a scale on which more is better.
    pub fn score(self, value: f64) -> f64 {
        match self {
            Self::Higher => value,
            Self::Lower => -value,
        }
    }
}

/// How held-out rows are answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalSpec {
    /// Responses per row; accuracy is their mean, and pass@k is reported up to this number.
    pub samples: u64,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// Nucleus sampling threshold.
    pub top_p: f64,
    /// Also measure how much the responses depend on the image (`eval/image_dependence`): two more passes over them,
    /// with the image and without it.
    #[serde(default)]
    #[schema(required = true)]
    pub image_dependence: bool,
}

/// What makes a checkpoint the best of its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BestSpec {
    /// Key of a metric; only checkpoints of steps with a measurement can be the best.
    pub metric: String,
    /// Whether higher or lower is better; by default the metric's own direction.
    pub better: Direction,
}

/// Early stopping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopSpec {
    /// Key of a metric.
    pub metric: String,
    /// Whether higher or lower is better; by default the metric's own direction.
    pub better: Direction,
    /// Number of consecutive measurements without a new best value that end the run.
    pub patience: u64,
    /// Minimum improvement of a new best value.
    pub min_delta: f64,
}
