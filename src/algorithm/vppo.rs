//! VPPO (Huang et al., arXiv 2510.09285): DAPO's objective, focused on tokens that depend on the image. A token's
//! visual dependency is the KL divergence of its distribution with the image from that with most of the image masked.
//! Responses that depend more on the image have their advantage scaled up (trajectory-level advantage shaping), and
//! only the most dependent tokens of each response carry a gradient (token-level gradient filtering).

use super::error::{AlgorithmError, check_length};
use super::group::{DependencyRange, GroupWeights, Trajectory, TrajectoryGroup, TrajectoryWeights};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::{Algorithm, MaskedView, Needs, perception};
use crate::domain::spec::VppoSpec;

/// Below this range of mean dependencies all responses have the same weight.
const DEGENERATE: f64 = 1e-6;
/// Guards the number of tokens against rounding: 0.4 of 5 tokens is 2, not 3.
const COUNT_SLACK: f64 = 1e-9;

/// The objective `vppo`.
#[derive(Debug, Clone)]
pub struct Vppo(VppoSpec);

impl Vppo {
    /// The objective for these settings.
    pub fn new(spec: VppoSpec) -> Self {
        Self(spec)
    }

    /// The factor on a response's advantage: from `advantage_min` for the least dependent response of the step upwards,
    /// so that the mean over the step is 1.
    fn scale(&self, trajectory: &Trajectory, range: DependencyRange) -> f64 {
        let width = range.high - range.low;
        if !self.0.shaping || width < DEGENERATE {
            return 1.0;
        }
        let place = |value: f64| ((value - range.low) / width).clamp(0.0, 1.0);
        let low = self.0.advantage_min;
        match mean(&trajectory.dependency) {
            Some(dependency) => low + (1.0 - low) * place(dependency) / place(range.mean).max(f64::MIN_POSITIVE),
            None => 1.0,
        }
    }

    /// 1 for the tokens that carry a gradient: the most dependent `token_share` of the response; ties go to the earlier
    /// token.
    fn spotlight(&self, dependency: &[f64]) -> Vec<f64> {
        if !self.0.filtering {
            return vec![1.0; dependency.len()];
        }
        let kept = (self.0.token_share * dependency.len() as f64 - COUNT_SLACK).ceil() as usize;
        let mut order: Vec<usize> = (0..dependency.len()).collect();
        order.sort_by(|a, b| dependency[*b].total_cmp(&dependency[*a]));
        let mut spotlight = vec![0.0; dependency.len()];
        order.iter().take(kept).for_each(|token| spotlight[*token] = 1.0);
        spotlight
    }

    fn shape(&self, weights: &mut TrajectoryWeights, trajectory: &Trajectory, range: DependencyRange) {
        let scale = self.scale(trajectory, range);
        weights.gate = self.spotlight(&trajectory.dependency);
        weights.phi = scale - 1.0;
        weights.psi = weights.gate.iter().map(|gate| gate - 1.0).collect();
        weights.shaped_advantage = weights.gate.iter().map(|gate| weights.advantage * scale * gate).collect();
    }
}

impl Algorithm for Vppo {
    fn name(&self) -> &'static str {
        "vppo"
    }

    fn needs(&self) -> Needs {
        let used = self.0.shaping || self.0.filtering;
        let view = MaskedView { ratio: self.0.mask_ratio, in_loss: false };
        Needs { masked_view: used.then_some(view), ..Needs::of(self.0.policy.kl_coef, self.0.policy.entropy_coef) }
    }

    /// Responses whose dependency is unknown (text-only prompts, or not measured) keep their plain advantage.
    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        let mut weights = GroupWeights::estimated(group, self.0.policy.estimator)?;
        let range = group.dependency.or_else(|| DependencyRange::of(group.trajectories.iter()));
        let Some(range) = range.filter(|_| group.has_image) else { return Ok(weights) };
        for (i, (trajectory, weights)) in group.trajectories.iter().zip(&mut weights.trajectories).enumerate() {
            if !trajectory.dependency.is_empty() {
                check_length("dependency", i, trajectory.dependency.len(), trajectory.tokens)?;
                self.shape(weights, trajectory, range);
            }
        }
        Ok(weights)
    }

    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        let mut output =
            objective::clipped_surrogate(responses, totals, self.0.policy.loss_average, Clipping::of(&self.0.policy))?;
        perception::add_entropy_penalty(&mut output, responses, self.0.entropy_penalty);
        Ok(output)
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
