//! Early stopping: the best value of a metric so far, and the measurements since then.

use serde::{Deserialize, Serialize};

use crate::domain::spec::EarlyStopSpec;

/// The state of early stopping. Part of the trainer's state, so that a resumed run stops where it would have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopState {
    /// The best value so far; none before the first measurement.
    pub best: Option<f64>,
    /// The step at which it was measured.
    pub best_step: u64,
    /// Measurements since then.
    pub since: u64,
}

impl EarlyStopState {
    /// Takes a measurement. NaN is never an improvement.
    pub fn observe(&mut self, spec: &EarlyStopSpec, step: u64, value: f64) {
        let score = |value: f64| spec.better.score(value);
        let improved = match self.best {
            None => !value.is_nan(),
            Some(best) => score(value) > score(best) + spec.min_delta,
        };
        *self = if improved {
            Self { best: Some(value), best_step: step, since: 0 }
        } else {
            Self { since: self.since + 1, ..*self }
        };
    }

    /// Why the run ends here; none while it continues.
    pub fn reason(&self, spec: &EarlyStopSpec) -> Option<String> {
        let EarlyStopSpec { metric, patience, .. } = spec;
        (self.since >= *patience).then(|| match self.best {
            None => format!("`{metric}` was not a number in {patience} measurement(s)"),
            Some(best) => format!(
                "`{metric}` has not been better than {best:.4} (step {}) in {patience} measurement(s)",
                self.best_step
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::Direction;

    fn steps_until_stop(spec: &EarlyStopSpec, values: &[f64]) -> Option<usize> {
        let mut watch = EarlyStopState::default();
        values.iter().enumerate().find_map(|(step, value)| {
            watch.observe(spec, step as u64, *value);
            watch.reason(spec).map(|_| step)
        })
    }

    fn spec(better: Direction, patience: u64, min_delta: f64) -> EarlyStopSpec {
        EarlyStopSpec { metric: "m".to_owned(), better, patience, min_delta }
    }

    #[test]
    fn patience_counts_measurements_without_a_new_best() {
        let higher = spec(Direction::Higher, 2, 0.0);
        assert_eq!(steps_until_stop(&higher, &[0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.9]), Some(5), "equal is not better");
        assert_eq!(steps_until_stop(&higher, &[0.1, 0.2, 0.1, 0.3, 0.2, 0.4]), None);
        let lower = spec(Direction::Lower, 1, 0.0);
        assert_eq!(steps_until_stop(&lower, &[3.0, 2.0, 1.0, 1.5]), Some(3));
    }

    #[test]
    fn small_improvements_and_nan_are_none() {
        assert_eq!(steps_until_stop(&spec(Direction::Higher, 2, 0.05), &[0.5, 0.54, 0.55, 0.9]), Some(2));
        assert_eq!(steps_until_stop(&spec(Direction::Higher, 2, 0.0), &[f64::NAN, f64::NAN]), Some(1));
        assert_eq!(steps_until_stop(&spec(Direction::Lower, 2, 0.0), &[f64::NAN, 1.0, f64::NAN, 0.5]), None);
    }

    #[test]
    fn the_reason_names_metric_value_and_step() {
        let spec = spec(Direction::Higher, 1, 0.0);
        let mut watch = EarlyStopState::default();
        for (step, value) in [(8, 0.75), (16, 0.5)] {
            watch.observe(&spec, step, value);
        }
        assert_eq!(watch.reason(&spec).unwrap(), "`m` has not been better than 0.7500 (step 8) in 1 measurement(s)");
    }
}
