//! PEPO (Li et al., arXiv 2603.22847): DAPO's objective, with the advantage of a response redistributed over its tokens
//! by how close their states are to the image (perception) and how uncertain they are (exploration). A smooth gate
//! joins the two, a softmax makes weights of it, and they grow in over the run.

use super::error::{AlgorithmError, check_finite, check_length};
use super::group::{GroupWeights, ScorePrecision, TrajectoryGroup};
use super::objective::{self, BatchTotals, Clipping, LossOutput, ResponseTokens};
use super::vgpo::min_max;
use super::{Algorithm, Needs};
use crate::domain::spec::PepoSpec;

/// The objective `pepo`.
#[derive(Debug, Clone)]
pub struct Pepo(PepoSpec);

impl Pepo {
    /// The objective for these settings.
    pub fn new(spec: PepoSpec) -> Self {
        Self(spec)
    }

    /// The weight of every token at full strength: `T softmax(s g / tau)`, with the gate
    /// `g = 1 + alpha tanh(m - mean m)` and `m` the sum of similarity and entropy, each scaled to [0, 1] within the
    /// response.
    fn weights(&self, similarity: &[f64], entropy: &[f64]) -> Vec<f64> {
        let scaled = |values| min_max(values, ScorePrecision::F32);
        let mixed: Vec<f64> = scaled(similarity).iter().zip(scaled(entropy)).map(|(s, h)| s + h).collect();
        let tokens = mixed.len() as f64;
        let mean = mixed.iter().sum::<f64>() / tokens;
        let gate = |mixed: f64| 1.0 + self.0.entropy_gate * (mixed - mean).tanh();
        let logits: Vec<f64> =
            similarity.iter().zip(&mixed).map(|(s, m)| s * gate(*m) / self.0.weight_temperature).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exp: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
        let sum: f64 = exp.iter().sum();
        exp.iter().map(|e| tokens * e / sum).collect()
    }
}

impl Algorithm for Pepo {
    fn name(&self) -> &'static str {
        "pepo"
    }

    fn needs(&self) -> Needs {
        let terms = Needs::of(self.0.policy.kl_coef, self.0.policy.entropy_coef);
        Needs { visual_focus: true, token_entropy: true, ..terms }
    }

    /// Responses whose entropy is unknown (not measured), and text-only prompts, keep their plain advantage.
    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        let mut weights = GroupWeights::estimated(group, self.0.policy.estimator)?;
        if !group.has_image {
            return Ok(weights);
        }
        let similarities = group.checked_similarities()?;
        let strength = if self.0.anneal { group.progress.unwrap_or(1.0) } else { 1.0 };
        for (i, (trajectory, weights)) in group.trajectories.iter().zip(&mut weights.trajectories).enumerate() {
            if trajectory.entropy.is_empty() {
                continue;
            }
            check_length("entropy", i, trajectory.entropy.len(), trajectory.tokens)?;
            check_finite("entropy", i, &trajectory.entropy)?;
            let full = self.weights(&similarities[i], &trajectory.entropy);
            let annealed: Vec<f64> = full.iter().map(|weight| 1.0 - strength + strength * weight).collect();
            weights.weigh_tokens(&annealed);
        }
        Ok(weights)
    }

    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        objective::clipped_surrogate(responses, totals, self.0.policy.loss_average, Clipping::of(&self.0.policy))
    }
}
