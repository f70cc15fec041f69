//! `dr_grpo` (Liu et al., arXiv 2503.20783): the reward against the mean of its group, not scaled by its deviation,
//! which would weigh prompts that are nearly always or nearly never answered more than others.

/// `r - mean`. A group of one, or of equal rewards, has advantage exactly 0.
pub(super) fn advantages(rewards: &[f64]) -> Vec<f64> {
    if rewards.windows(2).all(|pair| pair[0] == pair[1]) {
        return vec![0.0; rewards.len()];
    }
    let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
    rewards.iter().map(|r| r - mean).collect()
}
