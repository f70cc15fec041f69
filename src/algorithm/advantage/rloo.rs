//! `rloo` (Ahmadian et al., arXiv 2402.14740): the reward against the mean of the other responses of its group.

/// `r_i - mean of r_j, j != i`, not scaled. A group of one, or of equal rewards, has advantage exactly 0.
pub(super) fn advantages(rewards: &[f64]) -> Vec<f64> {
    if rewards.windows(2).all(|pair| pair[0] == pair[1]) {
        return vec![0.0; rewards.len()];
    }
    let (n, sum) = (rewards.len() as f64, rewards.iter().sum::<f64>());
    rewards.iter().map(|r| r - (sum - r) / (n - 1.0)).collect()
}
