//! Supervised fine-tuning: the mean negative log-likelihood of the demonstrations.

use super::error::AlgorithmError;
use super::group::{GroupWeights, TrajectoryGroup};
use super::objective::{self, BatchTotals, LossOutput, ResponseTokens};
use super::{Algorithm, Needs};
use crate::domain::spec::SftSpec;

/// The objective `sft`.
#[derive(Debug, Clone)]
pub struct Sft(SftSpec);

impl Sft {
    /// The objective for these settings.
    pub fn new(spec: SftSpec) -> Self {
        Self(spec)
    }
}

impl Algorithm for Sft {
    fn name(&self) -> &'static str {
        "sft"
    }

    fn needs(&self) -> Needs {
        Needs { old_logprobs: false, ..Needs::default() }
    }

    /// Advantage 1 on every token, whatever the reward.
    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        GroupWeights::unweighted(group, &vec![1.0; group.trajectories.len()])
    }

    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        objective::negative_log_likelihood(responses, totals, self.0.loss_average)
    }
}
