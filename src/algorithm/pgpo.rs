//! PGPO (Ye et al., arXiv 2604.01840): DAPO's objective, with the advantage of a response redistributed over its tokens
//! by their visual dependency, the KL divergence of a token's distribution with the image from that without it. Tokens
//! below a threshold lose weight and those above gain some, and the sum over the response stays the same.

use super::error::{AlgorithmError, check_finite, check_length};
use super::group::{GroupWeights, ScorePrecision, TrajectoryGroup};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::vgpo::min_max;
use super::{Algorithm, MaskedView, Needs};
use crate::domain::spec::PgpoSpec;

/// The objective `pgpo`.
#[derive(Debug, Clone)]
pub struct Pgpo(PgpoSpec);

impl Pgpo {
    /// The objective for these settings.
    pub fn new(spec: PgpoSpec) -> Self {
        Self(spec)
    }

    /// The weight of every token (Eq. 6 and 7): `d / tau` below the threshold and `1 + beta (d - tau) / (1 - tau)` from
    /// it on, with `d` the dependency scaled to [0, 1] within the response, over the mean of these weights.
    fn weights(&self, dependency: &[f64]) -> Vec<f64> {
        let (threshold, boost) = (self.0.threshold, self.0.boost);
        let weight = |d: f64| {
            if d < threshold { d / threshold } else { 1.0 + boost * (d - threshold) / (1.0 - threshold) }
        };
        let raw: Vec<f64> = min_max(dependency, ScorePrecision::F32).into_iter().map(weight).collect();
        let sum: f64 = raw.iter().sum();
        // Where no token depends more than another, none has more weight.
        if sum <= 0.0 { vec![1.0; raw.len()] } else { raw.iter().map(|w| w * raw.len() as f64 / sum).collect() }
    }
}

impl Algorithm for Pgpo {
    fn name(&self) -> &'static str {
        "pgpo"
    }

    fn needs(&self) -> Needs {
        let view = MaskedView { ratio: self.0.mask_ratio, in_loss: false };
        Needs { masked_view: Some(view), ..Needs::of(self.0.policy.kl_coef, self.0.policy.entropy_coef) }
    }

    /// Responses whose dependency is unknown (text-only prompts, or not measured) keep their plain advantage.
    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        let mut weights = GroupWeights::estimated(group, self.0.policy.estimator)?;
        for (i, (trajectory, weights)) in group.trajectories.iter().zip(&mut weights.trajectories).enumerate() {
            if group.has_image && !trajectory.dependency.is_empty() {
                check_length("dependency", i, trajectory.dependency.len(), trajectory.tokens)?;
                check_finite("dependency", i, &trajectory.dependency)?;
                weights.weigh_tokens(&self.weights(&trajectory.dependency));
            }
        }
        Ok(weights)
    }

    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        objective::clipped_surrogate(responses, totals, self.0.policy.loss_average, Clipping::of(&self.0.policy))
    }
}
