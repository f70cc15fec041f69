//! Group Relative Policy Optimization: every token of a response has the response's advantage.

use super::error::AlgorithmError;
use super::group::{GroupWeights, TrajectoryGroup};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::{Algorithm, advantage};
use crate::domain::spec::GrpoSpec;

/// The objective `grpo`.
#[derive(Debug, Clone)]
pub struct Grpo(GrpoSpec);

impl Grpo {
    /// # Errors
    /// A setting outside its limits.
    pub fn new(spec: GrpoSpec) -> Result<Self, AlgorithmError> {
        Clipping::of_grpo(&spec).check()?;
        Ok(Self(spec))
    }
}

impl Algorithm for Grpo {
    fn name(&self) -> &'static str {
        "grpo"
    }

    fn uses_visual_focus(&self) -> bool {
        false
    }

    fn uses_old_logprobs(&self) -> bool {
        true
    }

    fn uses_reference(&self) -> bool {
        self.0.kl_coef > 0.0
    }

    fn entropy_coef(&self) -> f64 {
        self.0.entropy_coef
    }

    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        group.check_rewards()?;
        GroupWeights::unweighted(group, &advantage::estimate(self.0.estimator, &group.rewards(), group.statistics()))
    }

    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        objective::clipped_surrogate(responses, totals, self.0.loss_average, Clipping::of_grpo(&self.0))
    }
}
