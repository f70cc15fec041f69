//! How long results are kept.

use serde::Serialize;

/// The label of a run whose results are kept whatever the policy says.
pub const KEEP_TAG: &str = "keep";

/// Ages in days from which something may be pruned; none: it is kept forever. Samples, metrics and checkpoints count
/// from the end of their run's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionPolicy {
    /// Events, by their own age.
    pub events_days: Option<u32>,
    /// Sample rollouts.
    pub samples_days: Option<u32>,
    /// Points of metrics; last, smallest and largest values stay.
    pub metrics_days: Option<u32>,
    /// Checkpoints that nothing holds.
    pub checkpoints_days: Option<u32>,
}

/// What went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Pruned {
    /// Events.
    pub events: u64,
    /// Sample groups.
    pub samples: u64,
    /// Points of metrics.
    pub points: u64,
    /// Checkpoints with their files.
    pub checkpoints: u64,
    /// Artifacts that no record named.
    pub orphans: u64,
}

impl Pruned {
    /// Did anything go?
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}
