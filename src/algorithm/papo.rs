//! PAPO (Wang et al., arXiv 2507.06448): DAPO's objective plus a reward for responses that depend on the image. A
//! second forward pass over the same responses has most of the image masked; the KL divergence between the two passes
//! is maximised (implicit perception loss), and the entropy of both is penalised, because the divergence could be
//! inflated otherwise (double entropy loss).

use super::error::AlgorithmError;
use super::group::{GroupWeights, TrajectoryGroup};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::{Algorithm, MaskedView, advantage, perception};
use crate::domain::spec::PapoSpec;

/// The objective `papo`.
#[derive(Debug, Clone)]
pub struct Papo(PapoSpec);

impl Papo {
    /// # Errors
    /// A setting outside its limits.
    pub fn new(spec: PapoSpec) -> Result<Self, AlgorithmError> {
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let cap = spec.perception_cap.unwrap_or(f64::INFINITY);
        let rules = [
            ("mask_ratio", spec.mask_ratio, spec.mask_ratio > 0.0 && spec.mask_ratio <= 1.0, "in (0, 1]"),
            ("perception_coef", spec.perception_coef, not_negative(spec.perception_coef), "0 or more"),
            ("perception_cap", cap, cap > 0.0, "above 0, or null"),
            ("entropy_penalty", spec.entropy_penalty, not_negative(spec.entropy_penalty), "0 or more"),
            (
                "masked_entropy_penalty",
                spec.masked_entropy_penalty,
                not_negative(spec.masked_entropy_penalty),
                "0 or more",
            ),
        ];
        if let Some((field, value, _, allowed)) = rules.into_iter().find(|(_, _, fits, _)| !fits) {
            return Err(AlgorithmError::Setting { field, value, allowed });
        }
        let out = Self(spec);
        out.clipping().check()?;
        Ok(out)
    }

    fn clipping(&self) -> Clipping {
        let PapoSpec { clip_low, clip_high, dual_clip, kl_coef, .. } = self.0;
        Clipping { low: clip_low, high: clip_high, dual: dual_clip, kl_coef }
    }
}

impl Algorithm for Papo {
    fn name(&self) -> &'static str {
        "papo"
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

    fn masked_view(&self) -> Option<MaskedView> {
        let used = self.0.perception_coef > 0.0 || self.0.masked_entropy_penalty > 0.0;
        used.then_some(MaskedView { ratio: self.0.mask_ratio, in_loss: true })
    }

    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        group.check_rewards()?;
        GroupWeights::unweighted(group, &advantage::estimate(self.0.estimator, &group.rewards(), group.statistics()))
    }

    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        let mut output = objective::clipped_surrogate(responses, totals, self.0.loss_average, self.clipping())?;
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
