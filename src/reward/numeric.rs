//! The reward `numeric`: is the answer a number near the ground truth?

use super::math::number;
use super::{Reward, RewardInput, Verdict, answer_text, one_if, single};

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
    /// Within these tolerances.
    pub fn new(absolute: Option<f64>, relative: Option<f64>) -> Self {
        let relative = relative.unwrap_or(if absolute.is_some() { 0.0 } else { DEFAULT_RELATIVE });
        Self { absolute: absolute.unwrap_or(0.0), relative }
    }
}

impl Reward for Numeric {
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let answer = answer_text::answer(input.response);
        let near = match (number(answer), number(answer_text::truth(input.ground_truth))) {
            (Some(value), Some(truth)) => {
                let allowed = self.absolute.max(self.relative * truth.abs());
                (value - truth).abs() <= allowed + SLACK * truth.abs().max(1.0)
            }
            _ => false,
        };
        single("numeric", one_if(near), Some(answer.to_owned()))
    }
}
