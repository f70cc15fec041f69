//! `reinforce++` (Hu, arXiv 2501.03262): the reward against the whole step, in standard deviations.

use super::RewardStatistics;

/// Added to the variance.
const VARIANCE_EPSILON: f64 = 1e-8;

/// `(r - mean) / sqrt(variance + 1e-8)` over all tokens of the step. Rewards are given at the last token and not
/// discounted, so every token of a response has the same return. A step of equal rewards has advantage exactly 0.
pub(super) fn advantages(rewards: &[f64], step: RewardStatistics) -> Vec<f64> {
    if step.variance <= 0.0 {
        return vec![0.0; rewards.len()];
    }
    let spread = (step.variance + VARIANCE_EPSILON).sqrt();
    rewards.iter().map(|r| (r - step.mean) / spread).collect()
}
