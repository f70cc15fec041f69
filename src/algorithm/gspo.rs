//! Group Sequence Policy Optimization (Zheng et al., arXiv 2507.18071): one ratio per response, the geometric mean of
//! its tokens' ratios, is clipped for all of them together.

use super::error::AlgorithmError;
use super::group::{GroupWeights, TrajectoryGroup};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens, surrogate};
use super::{Algorithm, Needs};
use crate::domain::spec::PolicySpec;

/// The objective `gspo`.
#[derive(Debug, Clone)]
pub struct Gspo(PolicySpec);

impl Gspo {
    /// The objective for these settings.
    pub fn new(spec: PolicySpec) -> Self {
        Self(spec)
    }
}

impl Algorithm for Gspo {
    fn name(&self) -> &'static str {
        "gspo"
    }

    fn needs(&self) -> Needs {
        Needs::of(self.0.kl_coef, self.0.entropy_coef)
    }

    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        GroupWeights::estimated(group, self.0.estimator)
    }

    /// `-min(s A, clip(s) A)` with `s = exp(mean of log ratio)`. Through a token's own log-prob the ratio changes as a
    /// token's ratio would (the paper's GSPO-token form), so that equal advantages give GSPO's own gradient.
    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        let clipping = Clipping::of(&self.0);
        objective::policy_loss(responses, totals, self.0.loss_average, clipping.kl_coef, |response| {
            let pairs = response.logprobs.iter().zip(response.old_logprobs);
            let mean = pairs.map(|(new, old)| new - old).sum::<f64>() / response.logprobs.len().max(1) as f64;
            response.advantages.iter().map(|advantage| surrogate(mean, *advantage, clipping)).collect()
        })
    }
}
