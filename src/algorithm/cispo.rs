//! CISPO (MiniMax-M1, arXiv 2506.13585): the importance ratio is clipped and detached, and weighs a plain log-prob, so
//! that every token keeps its gradient.

use super::error::AlgorithmError;
use super::group::{GroupWeights, TrajectoryGroup};
use super::objective::{self, BatchTotals, LossOutput, ResponseTokens, weighted_logprob};
use super::{Algorithm, Needs};
use crate::domain::spec::CispoSpec;

/// The objective `cispo`.
#[derive(Debug, Clone)]
pub struct Cispo(CispoSpec);

impl Cispo {
    /// The objective for these settings.
    pub fn new(spec: CispoSpec) -> Self {
        Self(spec)
    }
}

impl Algorithm for Cispo {
    fn name(&self) -> &'static str {
        "cispo"
    }

    fn needs(&self) -> Needs {
        Needs::of(self.0.kl_coef, self.0.entropy_coef)
    }

    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        GroupWeights::estimated(group, self.0.estimator)
    }

    /// `-A * stop(clip(ratio)) * logprob`; without `clip_low` the ratio has an upper bound only.
    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        let (low, high) = (self.0.clip_low, self.0.clip_high);
        objective::policy_loss(responses, totals, self.0.loss_average, self.0.kl_coef, |response| {
            (0..response.logprobs.len())
                .map(|t| {
                    let (new, old) = (response.logprobs[t], response.old_logprobs[t]);
                    weighted_logprob(new, old, response.advantages[t], low, high)
                })
                .collect()
        })
    }
}
