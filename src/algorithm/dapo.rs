//! DAPO (Yu et al., arXiv 2503.14476): GRPO with a wider upper clip limit, the mean over all tokens, dynamic sampling
//! (which the trainer does) and, as an option, a soft penalty on overlong responses (which the trainer adds to the
//! reward).

use super::error::AlgorithmError;
use super::group::{GroupWeights, TrajectoryGroup};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::{Algorithm, advantage};
use crate::domain::spec::DapoSpec;

/// The objective `dapo`.
#[derive(Debug, Clone)]
pub struct Dapo(DapoSpec);

impl Dapo {
    /// # Errors
    /// A setting outside its limits.
    pub fn new(spec: DapoSpec) -> Result<Self, AlgorithmError> {
        let out = Self(spec);
        out.clipping().check()?;
        Ok(out)
    }

    fn clipping(&self) -> Clipping {
        let DapoSpec { clip_low, clip_high, dual_clip, kl_coef, .. } = self.0;
        Clipping { low: clip_low, high: clip_high, dual: dual_clip, kl_coef }
    }
}

impl Algorithm for Dapo {
    fn name(&self) -> &'static str {
        "dapo"
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
        objective::clipped_surrogate(responses, totals, self.0.loss_average, self.clipping())
    }
}
