//! PAPO (Wang et al., arXiv 2507.06448): DAPO's objective plus a reward for responses that depend on the image. A
//! second forward pass over the same responses has most of the image masked; the KL divergence between the two passes
//! is maximised (implicit perception loss), and the entropy of both is penalised, because the divergence could be
//! inflated otherwise (double entropy loss).

use super::error::AlgorithmError;
use super::group::{GroupWeights, TrajectoryGroup};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::{Algorithm, MaskedView, Needs, perception};
use crate::domain::spec::PapoSpec;

/// The objective `papo`.
#[derive(Debug, Clone)]
pub struct Papo(PapoSpec);

impl Papo {
    /// The objective for these settings.
    pub fn new(spec: PapoSpec) -> Self {
        Self(spec)
    }
}

impl Algorithm for Papo {
    fn name(&self) -> &'static str {
        "papo"
    }

    fn needs(&self) -> Needs {
        let used = self.0.perception_coef > 0.0 || self.0.masked_entropy_penalty > 0.0;
        let view = MaskedView { ratio: self.0.mask_ratio, in_loss: true };
        Needs { masked_view: used.then_some(view), ..Needs::of(self.0.policy.kl_coef, self.0.policy.entropy_coef) }
    }

    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        GroupWeights::estimated(group, self.0.policy.estimator)
    }

    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        let mut output =
            objective::clipped_surrogate(responses, totals, self.0.policy.loss_average, Clipping::of(&self.0.policy))?;
        perception::add_entropy_penalty(&mut output, responses, self.0.entropy_penalty);
        perception::add_perception(
            &mut output,
            responses,
            self.0.perception_coef,
            self.0.perception_cap,
            self.0.masked_entropy_penalty,
        )?;
        Ok(output)
    }
}
