//! DAPO (Yu et al., arXiv 2503.14476): GRPO with a wider upper clip limit, the mean over all tokens, dynamic sampling
//! (which the trainer does) and, as an option, a soft penalty on overlong responses (which the trainer adds to the
//! reward).

use super::error::AlgorithmError;
use super::group::{GroupWeights, TrajectoryGroup};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::{Algorithm, Needs};
use crate::domain::spec::DapoSpec;

/// The objective `dapo`.
#[derive(Debug, Clone)]
pub struct Dapo(DapoSpec);

impl Dapo {
    /// The objective for these settings.
    pub fn new(spec: DapoSpec) -> Self {
        Self(spec)
    }
}

impl Algorithm for Dapo {
    fn name(&self) -> &'static str {
        "dapo"
    }

    fn needs(&self) -> Needs {
        Needs::of(self.0.policy.kl_coef, self.0.policy.entropy_coef)
    }

    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        GroupWeights::estimated(group, self.0.policy.estimator)
    }

    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        objective::clipped_surrogate(responses, totals, self.0.policy.loss_average, Clipping::of(&self.0.policy))
    }
}
