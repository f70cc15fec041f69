//! The reward `weighted`: a weighted sum of rewards.

use super::{Reward, RewardInput, Verdict};

/// Name of the part that decides what counts as a right answer.
const ANSWER_PART: &str = "math";

/// A weighted sum of rewards.
pub struct Weighted(Vec<(f64, Box<dyn Reward>)>);

impl Weighted {
    /// The sum of `weight * reward` over these parts.
    pub fn new(parts: Vec<(f64, Box<dyn Reward>)>) -> Self {
        Self(parts)
    }
}

impl Reward for Weighted {
    /// Sums the parts. Accuracy is that of the part which judges the answer; without one, every part must succeed.
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let mut sum = Verdict { accuracy: 1.0, ..Verdict::default() };
        for (weight, reward) in &self.0 {
            let verdict = reward.judge(input);
            sum.reward += weight * verdict.reward;
            sum.accuracy = sum.accuracy.min(verdict.accuracy);
            sum.parts.extend(verdict.parts);
            sum.extracted = sum.extracted.or(verdict.extracted);
        }
        if let Some(answer) = sum.parts.get(ANSWER_PART) {
            sum.accuracy = *answer;
        }
        sum
    }
}
