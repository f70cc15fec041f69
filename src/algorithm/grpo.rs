//! Group Relative Policy Optimization: every token of a response has the response's advantage.

use super::error::AlgorithmError;
use super::group::{GroupWeights, TrajectoryGroup};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::{Algorithm, Needs};
use crate::domain::spec::PolicySpec;

/// The objective `grpo`.
#[derive(Debug, Clone)]
pub struct Grpo(PolicySpec);

impl Grpo {
    /// The objective for these settings.
    pub fn new(spec: PolicySpec) -> Self {
        Self(spec)
    }
}

impl Algorithm for Grpo {
    fn name(&self) -> &'static str {
        "grpo"
    }

    fn needs(&self) -> Needs {
        Needs::of(self.0.kl_coef, self.0.entropy_coef)
    }

    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        GroupWeights::estimated(group, self.0.estimator)
    }

    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        objective::clipped_surrogate(responses, totals, self.0.loss_average, Clipping::of(&self.0))
    }
}
