//! How a run is judged: how held-out rows are answered, and which metric decides about its best checkpoint and its end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which way a metric gets better.
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
    /// Responses per row; accuracy is their mean, and pass@k is told for up to so many.
    pub samples: u64,
    /// Sampling temperature; 0 takes the likeliest token.
    pub temperature: f64,
    /// Nucleus sampling share.
    pub top_p: f64,
}

/// What makes a checkpoint the best of its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BestSpec {
    /// Key of a metric; only checkpoints at whose step it was measured can be the best.
    pub metric: String,
    /// Which way it gets better; follows the metric when left out.
    pub better: Direction,
}

/// When a run ends before its last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopSpec {
    /// Key of a metric.
    pub metric: String,
    /// Which way it gets better; follows the metric when left out.
    pub better: Direction,
    /// Measurements one after the other without a new best value that end the run.
    pub patience: u64,
    /// A new best value must be better than the old one by more than this.
    pub min_delta: f64,
}
