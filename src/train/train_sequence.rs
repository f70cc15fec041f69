//! What is trained on: a prompt and one response.

use std::sync::Arc;

use crate::model::{ImagePatches, Sequence};

/// A prompt and one response, with what the loss needs of each response token.
#[derive(Debug, Clone, Default)]
pub struct TrainSequence {
    /// Tokens of prompt and response, and the images.
    pub input: Sequence,
    /// The images with patches hidden, where the objective has a masked view and the prompt has any.
    pub masked_images: Option<Vec<Arc<ImagePatches>>>,
    /// Tokens of the prompt.
    pub prompt_len: usize,
    /// Log-probs under the policy before the update; empty: those of the pass that trains.
    pub old_logprobs: Vec<f64>,
    /// Truncated ratio of trainer to sampler for each token, where the job asks for it.
    pub correction: Option<Vec<f64>>,
    /// Log-probs under the reference model, where the objective has a KL term.
    pub reference_logprobs: Option<Vec<f64>>,
    /// Shaped advantage of each response token.
    pub advantages: Vec<f64>,
    /// Does it carry no loss? (A truncated response, where the job masks those.)
    pub ignored: bool,
}

impl TrainSequence {
    /// Response tokens.
    pub fn response_len(&self) -> usize {
        self.input.ids.len() - self.prompt_len
    }

    /// Response tokens with a loss.
    pub fn loss_tokens(&self) -> usize {
        if self.ignored { 0 } else { self.response_len() }
    }

    /// The masked images; the images themselves where there are none.
    pub(super) fn masked_or_own(&self) -> &[Arc<ImagePatches>] {
        self.masked_images.as_ref().unwrap_or(&self.input.images)
    }
}
