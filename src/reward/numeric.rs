//! The reward `numeric`: is the answer a number near the ground truth?

use super::math::number;
use super::{Reward, RewardError, RewardInput, Verdict, answer_text, one_if, single};

/// Share of the truth's size that is allowed when the job names no tolerance.
const DEFAULT_RELATIVE: f64 = 0.01;
/// Room for the rounding of decimal fractions in binary: 0.3 - 0.1 is more than 0.2 there.
const SLACK: f64 = 1e-9;

/// 1 within either tolerance.
#[derive(Debug, Clone, Copy)]
pub struct Numeric {
    absolute: f64,
    relative: f64,
}

impl Numeric {
    /// # Errors
    /// A tolerance that is negative or not finite.
    pub fn new(absolute: Option<f64>, relative: Option<f64>) -> Result<Self, RewardError> {
        for (field, value) in [("absolute", absolute), ("relative", relative)] {
            if let Some(value) = value.filter(|value| !value.is_finite() || *value < 0.0) {
                let allowed = "a number of at least 0".to_owned();
                return Err(RewardError::Setting { field, value: value.to_string(), allowed });
            }
        }
        let relative = relative.unwrap_or(if absolute.is_some() { 0.0 } else { DEFAULT_RELATIVE });
        Ok(Self { absolute: absolute.unwrap_or(0.0), relative })
    }
}

impl Reward for Numeric {
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let found = answer_text::answer(input.response);
        let near = match (number(found), number(answer_text::truth(input.ground_truth))) {
            (Some(found), Some(truth)) => {
                let allowed = self.absolute.max(self.relative * truth.abs());
                (found - truth).abs() <= allowed + SLACK * truth.abs().max(1.0)
            }
            _ => false,
        };
        single("numeric", one_if(near), Some(found.to_owned()))
    }
}
