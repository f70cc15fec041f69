//! `grpo` (Shao et al., arXiv 2402.03300): the reward against the mean of its group, in standard deviations.

/// Added to the standard deviation, so that it is never close to 0.
const STD_EPSILON: f64 = 1e-6;
/// Rewards beyond this are scaled first, so that their squares stay finite.
const HUGE: f64 = 1e100;

/// `(r - mean) / (std + 1e-6)` with the sample standard deviation (n - 1). The advantages of a group of one, or of
/// equal rewards, are exactly 0, without rounding errors of the mean.
pub(super) fn advantages(rewards: &[f64]) -> Vec<f64> {
    normalised(rewards, STD_EPSILON)
}

/// `(r - mean) / (std + epsilon)`.
pub(super) fn normalised(rewards: &[f64], epsilon: f64) -> Vec<f64> {
    if rewards.windows(2).all(|pair| pair[0] == pair[1]) {
        return vec![0.0; rewards.len()];
    }
    let largest = rewards.iter().fold(0.0_f64, |m, r| m.max(r.abs()));
    let scale = if largest > HUGE { largest } else { 1.0 };
    let scaled: Vec<f64> = rewards.iter().map(|r| r / scale).collect();
    let n = scaled.len() as f64;
    let mean = scaled.iter().sum::<f64>() / n;
    let variance = scaled.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let spread = variance.sqrt() + epsilon / scale;
    scaled.iter().map(|r| (r - mean) / spread).collect()
}
