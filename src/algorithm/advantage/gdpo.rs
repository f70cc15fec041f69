//! `gdpo` (Liu et al., arXiv 2601.05242): every part of a weighted reward is normalised on its own within the group
//! before they are summed, so that responses that differ in their parts have different advantages; the sums are then
//! scaled over the step.

use super::grpo;

/// Added to standard deviations.
const STD_EPSILON: f64 = 1e-4;

/// A summand of a reward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardPart {
    /// Its weight.
    pub weight: f64,
    /// Its value, without the weight.
    pub value: f64,
}

/// The sum over the parts of `weight * (value - mean) / (std + 1e-4)`, mean and sample deviation over the group: one
/// list of parts and one sum per response. A part that is equal in all responses adds exactly 0.
pub fn decoupled(responses: &[Vec<RewardPart>]) -> Vec<f64> {
    let parts = responses.iter().map(Vec::len).min().unwrap_or(0);
    let mut sums = vec![0.0; responses.len()];
    for part in 0..parts {
        let values: Vec<f64> = responses.iter().map(|response| response[part].value).collect();
        let normalised = grpo::normalised(&values, STD_EPSILON);
        for ((sum, value), response) in sums.iter_mut().zip(normalised).zip(responses) {
            *sum += response[part].weight * value;
        }
    }
    sums
}

/// The sample deviation of the sums of a whole step; their mean is 0 within every group.
pub fn deviation(sums: &[f64]) -> f64 {
    let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
    (squares / (sums.len().max(2) - 1) as f64).sqrt()
}

/// The sums in deviations of the step, or of the group where that is not known.
pub fn of_decoupled(sums: &[f64], step: Option<f64>) -> Vec<f64> {
    let spread = step.unwrap_or_else(|| deviation(sums)) + STD_EPSILON;
    sums.iter().map(|sum| sum / spread).collect()
}

/// Advantages of rewards that have one part.
pub(super) fn advantages(rewards: &[f64]) -> Vec<f64> {
    of_decoupled(&grpo::normalised(rewards, STD_EPSILON), None)
}
