//! Advantage estimators: the rewards of one group -> one advantage per response. One file each, registered in
//! [`estimate`].

mod dr_grpo;
mod gdpo;
mod grpo;
mod reinforce;
mod rloo;

pub use gdpo::{RewardPart, decoupled, deviation, of_decoupled};

use crate::domain::spec::Estimator;

/// Mean and spread of the rewards of a whole step, every response counted once per token: what `reinforce++` compares
/// with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardStatistics {
    /// Mean reward.
    pub mean: f64,
    /// Sample variance of the reward.
    pub variance: f64,
}

impl RewardStatistics {
    /// Over responses of `(tokens, reward)`. One token, or equal rewards, have no variance.
    pub fn of(responses: impl IntoIterator<Item = (usize, f64)>) -> Self {
        let responses: Vec<(f64, f64)> = responses.into_iter().map(|(tokens, r)| (tokens as f64, r)).collect();
        let tokens: f64 = responses.iter().map(|(n, _)| n).sum();
        if tokens < 1.0 {
            return Self { mean: 0.0, variance: 0.0 };
        }
        let mean = responses.iter().map(|(n, r)| n * r).sum::<f64>() / tokens;
        let squares: f64 = responses.iter().map(|(n, r)| n * (r - mean).powi(2)).sum();
        Self { mean, variance: squares / (tokens - 1.0).max(1.0) }
    }
}

/// One advantage per reward of a group; `step` describes the rewards of the whole step. Finite rewards give finite
/// advantages, and a group of equal rewards has advantage exactly 0 under the estimators that compare within the group.
pub fn estimate(estimator: Estimator, rewards: &[f64], step: RewardStatistics) -> Vec<f64> {
    match estimator {
        Estimator::Grpo => grpo::advantages(rewards),
        Estimator::DrGrpo => dr_grpo::advantages(rewards),
        // Of rewards without parts, in a step of this group alone.
        Estimator::Gdpo => gdpo::advantages(rewards),
        Estimator::Rloo => rloo::advantages(rewards),
        Estimator::ReinforcePlusPlus => reinforce::advantages(rewards, step),
    }
}
