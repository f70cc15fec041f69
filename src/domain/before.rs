//! What jobs did before a setting existed: the values of stored jobs that lack it.

use super::alert::{AlertFormat, AlertRules, AlertsSpec};
use super::evaluation::{BestSpec, Direction, EvalSpec};
use super::metric::EVAL_ACCURACY;
use super::rollout_engine::{EngineKind, EngineSpec, WeightSync};

/// Nothing was watched.
pub(super) fn alerts() -> AlertsSpec {
    let rules = AlertRules {
        nan: false,
        reward_constant: None,
        reward_collapse: None,
        kl_above: None,
        entropy_below: None,
        entropy_above: None,
        stalled_seconds: None,
        finished: false,
        failed: false,
    };
    AlertsSpec { webhook: None, format: AlertFormat::Json, rules }
}

/// One answer a row, the likeliest.
pub(super) fn eval() -> EvalSpec {
    EvalSpec { samples: 1, temperature: 0.0, top_p: 1.0, image_dependence: false }
}

/// Held-out accuracy.
pub(super) fn best() -> BestSpec {
    BestSpec { metric: EVAL_ACCURACY.to_owned(), better: Direction::Higher }
}

/// What the settings of an evaluation have without an audit: nothing is measured with it.
pub(super) fn dependency_threshold() -> f64 {
    0.1
}

/// One process.
pub(super) fn ranks() -> u32 {
    1
}

/// The end of a cosine schedule.
pub(super) fn schedule_floor() -> f64 {
    0.05
}

/// The process that trains.
pub(super) fn engine() -> EngineSpec {
    EngineSpec {
        kind: EngineKind::Local,
        urls: None,
        model: None,
        sync: WeightSync::Auto,
        shared_dir: None,
        staleness: 0,
        timeout_seconds: 600.0,
        patience_seconds: 600.0,
    }
}
