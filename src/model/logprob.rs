//! Log-probs of given tokens: logits only where a token is predicted, never for the whole batch.

use candle_core::{D, Device, Tensor};

use super::{ModelError, ModelInfo, VisionLanguageModel, kernels};

/// One token whose log-prob is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTarget {
    /// Flat position (`row * columns + column`) of the state that PREDICTS the token: the column before it.
    pub slot: u32,
    /// The token.
    pub token: u32,
}

/// The distribution that log-probs are taken from.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    temperature: f64,
    mask: Option<Tensor>,
}

impl Vocabulary {
    /// The model's own distribution at a temperature.
    pub fn plain(temperature: f64) -> Self {
        Self { temperature, mask: None }
    }

    /// The distribution that rollouts sample from: logits divided by the temperature, image and video placeholders left
    /// out. Top-p is ignored, as in the reference implementations.
    pub fn rollout(model: &dyn VisionLanguageModel, temperature: f64) -> Result<Self, ModelError> {
        Ok(Self { temperature, mask: Some(placeholder_mask(model.info(), model.device())?) })
    }
}

fn placeholder_mask(info: &ModelInfo, device: &Device) -> Result<Tensor, ModelError> {
    let mut mask = vec![0.0_f32; info.vocab_size];
    for id in [info.image_token_id, info.video_token_id] {
        if let Some(entry) = mask.get_mut(id as usize) {
            *entry = kernels::MASKED;
        }
    }
    Ok(Tensor::new(mask, device)?)
}

/// Result of [`response_logprobs`].
#[derive(Debug, Clone)]
pub struct TokenLogprobs {
    /// Log-prob of each target `[targets]`, differentiable.
    pub logprobs: Tensor,
    /// Entropy in nat of each target's distribution `[targets]`, differentiable where asked for.
    pub entropy: Tensor,
}

/// Log-probs of `targets` under final hidden states `[rows, columns, hidden]`. `entropy_gradient`: the entropy is part of the
/// loss too.
pub fn response_logprobs(
    model: &dyn VisionLanguageModel,
    hidden: &Tensor,
    targets: &[TokenTarget],
    vocabulary: &Vocabulary,
    entropy_gradient: bool,
) -> Result<TokenLogprobs, ModelError> {
    let tokens = Tensor::from_iter(targets.iter().map(|t| t.token), model.device())?;
    let all = distributions(model, hidden, targets, vocabulary)?;
    let logs = if entropy_gradient { all.clone() } else { all.detach() };
    let entropy = (logs.exp()? * &logs)?.sum(D::Minus1)?.neg()?;
    let logprobs = all.gather(&tokens.unsqueeze(1)?, 1)?.squeeze(1)?;
    Ok(TokenLogprobs { logprobs, entropy })
}

/// KL in nat `[targets]` from each target's distribution under `hidden` to that under `other`, the states of a batch of the
/// same layout: how much a token's choice depends on what differs between the two. No gradient.
pub fn divergence(
    model: &dyn VisionLanguageModel,
    hidden: &Tensor,
    other: &Tensor,
    targets: &[TokenTarget],
    vocabulary: &Vocabulary,
) -> Result<Tensor, ModelError> {
    let of = distributions(model, &hidden.detach(), targets, vocabulary)?;
    let to = distributions(model, &other.detach(), targets, vocabulary)?;
    Ok((of.exp()? * (of - to)?)?.sum(D::Minus1)?.detach())
}

/// Log-probs of the whole vocabulary `[targets, vocab]` at every target.
fn distributions(
    model: &dyn VisionLanguageModel,
    hidden: &Tensor,
    targets: &[TokenTarget],
    vocabulary: &Vocabulary,
) -> Result<Tensor, ModelError> {
    let (rows, columns, width) = hidden.dims3()?;
    let slots = Tensor::from_iter(targets.iter().map(|t| t.slot), model.device())?;
    let states = hidden.reshape((rows * columns, width))?.index_select(&slots, 0)?;
    let mut logits = model.logits(&states)?;
    if (vocabulary.temperature - 1.0).abs() > f64::EPSILON {
        logits = (logits / vocabulary.temperature)?;
    }
    if let Some(mask) = &vocabulary.mask {
        logits = logits.broadcast_add(mask)?;
    }
    Ok(kernels::log_softmax(&logits)?)
}
