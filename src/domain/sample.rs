//! Sample rollouts: what a group of responses looked like to the learner.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One prompt and every response of its group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SampleGroup {
    /// Row of the data set.
    pub row: u64,
    /// Was this an evaluation (greedy, held-out) or a training rollout?
    pub eval: bool,
    /// The prompt after the chat template.
    pub prompt: String,
    /// The ground truth.
    pub answer: String,
    /// The prompt's images as PNG, base64.
    pub images: Vec<String>,
    /// The responses.
    pub responses: Vec<SampleResponse>,
}

/// One response of a [`SampleGroup`]; per-token lists have one entry per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SampleResponse {
    /// The text, without special tokens.
    pub text: String,
    /// Text of each token.
    pub tokens: Vec<String>,
    /// Log-prob of each token under the policy that sampled it.
    pub logprobs: Vec<f64>,
    /// Visual focus score of each token; null for text-only prompts.
    pub focus: Option<Vec<f64>>,
    /// Attention of the position that predicts each token; absent where it was not measured, and in samples that an
    /// earlier version stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<SampleShares>,
    /// Intra-trajectory weight of each token (1 + psi multiplies the advantage); empty in samples of held-out rows,
    /// which have no advantage.
    pub psi: Vec<f64>,
    /// Shaped advantage of each token; empty in samples of held-out rows.
    pub shaped_advantage: Vec<f64>,
    /// Inter-trajectory weight (1 + phi multiplies the advantage); 0 in samples of held-out rows.
    pub phi: f64,
    /// The group-relative advantage; 0 in samples of held-out rows.
    pub advantage: f64,
    /// The reward.
    pub reward: f64,
    /// Its parts by name.
    pub reward_parts: BTreeMap<String, f64>,
    /// Is the answer correct? Null if the reward does not judge answers.
    pub correct: Option<bool>,
    /// Was it cut off by the length limit?
    pub cut_off: bool,
}

/// Shares of attention (mean over layers and heads), a value per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SampleShares {
    /// To the image.
    pub image: Vec<f64>,
    /// To the other tokens of the prompt.
    pub query: Vec<f64>,
    /// To the response's own tokens.
    pub generated: Vec<f64>,
}

/// A stored [`SampleGroup`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SampleRecord {
    /// `smp_…`.
    pub id: String,
    /// The run.
    pub run_id: String,
    /// The step it was sampled at.
    pub step: u64,
    /// When it was stored.
    pub created_at: chrono::DateTime<chrono::Utc>,
    /// The prompt with its group of responses.
    pub group: SampleGroup,
}

/// Number of samples of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SampleStep {
    /// The step.
    pub step: u64,
    /// Number of groups stored at it.
    pub groups: u64,
}
