//! SAPO (Gao et al., arXiv 2511.20347): a smooth gate takes the place of the clip, so that a token's gradient fades as
//! its ratio leaves 1 and never stops at once.

use super::error::AlgorithmError;
use super::group::{GroupWeights, TrajectoryGroup};
use super::objective::{self, BatchTotals, LossOutput, ResponseTokens, gated_ratio};
use super::{Algorithm, Needs};
use crate::domain::spec::SapoSpec;

/// The objective `sapo`.
#[derive(Debug, Clone)]
pub struct Sapo(SapoSpec);

impl Sapo {
    /// The objective for these settings.
    pub fn new(spec: SapoSpec) -> Self {
        Self(spec)
    }
}

impl Algorithm for Sapo {
    fn name(&self) -> &'static str {
        "sapo"
    }

    fn needs(&self) -> Needs {
        Needs::of(self.0.kl_coef, self.0.entropy_coef)
    }

    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        GroupWeights::estimated(group, self.0.estimator)
    }

    /// `-A * 4 / tau * sigmoid(tau * (ratio - 1))`, with a temperature `tau` of its own for each sign of the advantage.
    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        let (above, below) = (self.0.temperature_positive, self.0.temperature_negative);
        objective::policy_loss(responses, totals, self.0.loss_average, self.0.kl_coef, |response| {
            (0..response.logprobs.len())
                .map(|t| {
                    let (difference, advantage) =
                        (response.logprobs[t] - response.old_logprobs[t], response.advantages[t]);
                    gated_ratio(difference, advantage, if advantage > 0.0 { above } else { below })
                })
                .collect()
        })
    }
}
