//! VPPO (Huang et al., arXiv 2510.09285): DAPO's objective, focused on tokens that depend on the image. A token's
//! visual dependency is the KL divergence of its distribution with the image from that with most of the image masked.
//! Responses that depend more on the image have their advantage scaled up (trajectory-level advantage shaping), and
//! only the most dependent tokens of each response carry a gradient (token-level gradient filtering).

use super::error::{AlgorithmError, check_length};
use super::group::{DependencyRange, GroupWeights, Trajectory, TrajectoryGroup, TrajectoryWeights};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::{Algorithm, MaskedView, advantage, perception};
use crate::domain::spec::VppoSpec;

/// Below this range of mean dependencies all responses have the same weight.
const DEGENERATE: f64 = 1e-6;
/// Guards the number of tokens against rounding: 0.4 of 5 tokens is 2, not 3.
const COUNT_SLACK: f64 = 1e-9;

/// The objective `vppo`.
#[derive(Debug, Clone)]
pub struct Vppo(VppoSpec);

impl Vppo {
    /// # Errors
    /// A setting outside its limits.
    pub fn new(spec: VppoSpec) -> Result<Self, AlgorithmError> {
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let rules = [
            ("mask_ratio", spec.mask_ratio, share(spec.mask_ratio), "in (0, 1]"),
            ("token_share", spec.token_share, share(spec.token_share), "in (0, 1]"),
            ("advantage_min", spec.advantage_min, (0.0..=1.0).contains(&spec.advantage_min), "in [0, 1]"),
            (
                "entropy_penalty",
                spec.entropy_penalty,
                spec.entropy_penalty.is_finite() && spec.entropy_penalty >= 0.0,
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
        let VppoSpec { clip_low, clip_high, dual_clip, kl_coef, .. } = self.0;
        Clipping { low: clip_low, high: clip_high, dual: dual_clip, kl_coef }
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
        let used = self.0.shaping || self.0.filtering;
        used.then_some(MaskedView { ratio: self.0.mask_ratio, in_loss: false })
    }

    /// Responses whose dependency is unknown (text-only prompts, or not measured) keep their plain advantage.
    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        group.check_rewards()?;
        let advantages = advantage::estimate(self.0.estimator, &group.rewards(), group.statistics());
        let mut weights = GroupWeights::unweighted(group, &advantages)?;
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
        let mut output = objective::clipped_surrogate(responses, totals, self.0.loss_average, self.clipping())?;
        perception::add_entropy_penalty(&mut output, responses, self.0.entropy_penalty);
        Ok(output)
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
