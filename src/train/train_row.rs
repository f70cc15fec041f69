//! What is trained on: one response behind its prompt.

use std::sync::Arc;

use crate::model::{ImagePatches, Sequence};

/// One response behind its prompt.
#[derive(Debug, Clone, Default)]
pub struct TrainRow {
    /// Prompt and response.
    pub sequence: Sequence,
    /// The row's images with patches hidden, where the objective looks at them and the prompt has any.
    pub masked_images: Option<Vec<Arc<ImagePatches>>>,
    /// Tokens of the prompt.
    pub prompt_len: usize,
    /// Log-probs under the policy that the step began with; empty: those of the pass that trains.
    pub old_logprobs: Vec<f64>,
    /// Truncated ratio of trainer to sampler for each token, where the job asks for it.
    pub correction: Option<Vec<f64>>,
    /// Log-probs under the reference model, where the objective has a KL term.
    pub reference_logprobs: Option<Vec<f64>>,
    /// Shaped advantage of each response token.
    pub advantages: Vec<f64>,
}

impl TrainRow {
    /// Response tokens.
    pub fn response_len(&self) -> usize {
        self.sequence.ids.len() - self.prompt_len
    }

    /// The row's masked images; its own where it has none.
    pub(super) fn masked_or_own(&self) -> &[Arc<ImagePatches>] {
        self.masked_images.as_ref().unwrap_or(&self.sequence.images)
    }
}
