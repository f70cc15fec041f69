//! Log-probs of given tokens. Logits are computed only where a token is predicted, and in chunks, so that their memory
//! does not grow with the batch. The backward pass recomputes them instead of keeping them.

use std::ops::Range;

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Tensor, Var};

use super::kernels::{self, Distribution};
use super::seed::seeded;
use super::transfers::{down, is_gpu, up};
use super::{ModelError, ModelInfo, VisionLanguageModel};

/// Maximum number of logits in a chunk (64 MiB of 32-bit floats): many positions with a small vocabulary, and enough
/// with a large one for efficient matrix products.
pub const LOGITS_AT_ONCE: usize = 1 << 24;

/// One token whose log-prob is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTarget {
    /// Flat position (`row * seq_len + position`) of the state that PREDICTS the token: the position before it.
    pub slot: u32,
    /// The token.
    pub token: u32,
}

/// The distribution that log-probs are taken from.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    distribution: Distribution,
    logits_at_once: usize,
}

impl Vocabulary {
    /// The model's own distribution at a temperature.
    pub fn plain(temperature: f64) -> Self {
        Self { distribution: Distribution { temperature, excluded: Vec::new() }, logits_at_once: LOGITS_AT_ONCE }
    }

    /// The distribution that rollouts sample from: logits divided by the temperature, image and video placeholders
    /// excluded. Top-p is ignored, as in the reference implementations.
    pub fn rollout(info: &ModelInfo, temperature: f64) -> Self {
        let excluded = info.placeholders.clone();
        Self { distribution: Distribution { temperature, excluded }, logits_at_once: LOGITS_AT_ONCE }
    }

    /// The same with another limit on the logits of a chunk; a chunk has at least one position.
    #[must_use]
    pub fn with_logits_at_once(self, logits: usize) -> Self {
        Self { logits_at_once: logits, ..self }
    }

    /// Positions in a chunk, for a vocabulary of `size` tokens.
    pub fn positions_at_once(&self, size: usize) -> usize {
        (self.logits_at_once / size.max(1)).max(1)
    }

    fn cuts(&self, targets: usize, size: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let step = self.positions_at_once(size);
        (0..targets).step_by(step).map(move |start| start..targets.min(start + step))
    }
}

/// Log-prob and, if requested, entropy of each target.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenScores {
    /// Log-prob of each target.
    pub logprobs: Vec<f64>,
    /// Entropy in nats of each target's distribution; empty if not requested.
    pub entropy: Vec<f64>,
}

/// States `[targets, hidden]` that predict the targets, of final hidden states `[batch, seq_len, hidden]`.
fn states(hidden: &Tensor, targets: &[TokenTarget]) -> Result<(Tensor, Tensor), ModelError> {
    let (rows, seq_len, width) = hidden.dims3()?;
    // [targets]
    let slots = up("predicting states", targets.iter().map(|t| t.slot).collect(), targets.len(), hidden.device())?;
    let states = hidden.reshape((rows * seq_len, width))?.index_select(&slots, 0)?;
    Ok((states, slots))
}

fn tokens(targets: &[TokenTarget]) -> Vec<u32> {
    targets.iter().map(|t| t.token).collect()
}

/// Scores of `targets` under final hidden states `[batch, seq_len, hidden]`; no gradient.
pub fn token_scores(
    model: &dyn VisionLanguageModel,
    hidden: &Tensor,
    targets: &[TokenTarget],
    vocabulary: &Vocabulary,
    entropy: bool,
) -> Result<TokenScores, ModelError> {
    let (states, _) = states(&hidden.detach(), targets)?;
    let mut scores = TokenScores::default();
    // On a GPU those of all chunks come in one transfer.
    let mut on_device = Vec::new();
    for cut in vocabulary.cuts(targets.len(), model.info().vocab_size) {
        let logits = model.logits(&states.narrow(0, cut.start, cut.len())?)?.detach().to_dtype(DType::F32)?;
        let (tokens, distribution) = (tokens(&targets[cut]), &vocabulary.distribution);
        if is_gpu(logits.device()) {
            on_device.push(kernels::token_logprobs_on_device(&logits, &tokens, distribution, entropy)?);
            continue;
        }
        let (logprobs, spread) = kernels::token_logprobs(&logits, &tokens, distribution, entropy)?;
        scores.logprobs.extend(logprobs);
        scores.entropy.extend(spread);
    }
    if !on_device.is_empty() {
        // [targets, log-prob and entropy]
        let all = down("log-probs", &Tensor::cat(&on_device, 0)?)?;
        for line in all.chunks_exact(1 + usize::from(entropy)) {
            scores.logprobs.push(f64::from(line[0]));
            scores.entropy.extend(line.get(1).copied().map(f64::from));
        }
    }
    // An excluded token has probability 0.
    let is_odd = |(logprob, target): (&f64, &TokenTarget)| {
        !logprob.is_finite() && !vocabulary.distribution.excluded.contains(&target.token)
    };
    if scores.logprobs.iter().zip(targets).any(is_odd) {
        return Err(ModelError::NotFinite("log-probs"));
    }
    Ok(scores)
}

/// KL divergence in nats from each target's distribution under `hidden` to that under `other`, the states of a batch of
/// the same layout: how much a token depends on what differs between the two inputs. No gradient.
pub fn divergence(
    model: &dyn VisionLanguageModel,
    hidden: &Tensor,
    other: &Tensor,
    targets: &[TokenTarget],
    vocabulary: &Vocabulary,
) -> Result<Vec<f64>, ModelError> {
    let ((of, _), (to, _)) = (states(&hidden.detach(), targets)?, states(&other.detach(), targets)?);
    let mut found = Vec::new();
    for cut in vocabulary.cuts(targets.len(), model.info().vocab_size) {
        let logs = |states: &Tensor| -> Result<Tensor, ModelError> {
            let logits = model.logits(&states.narrow(0, cut.start, cut.len())?)?.detach().to_dtype(DType::F32)?;
            Ok(vocabulary.distribution.log_probs(&logits)?)
        };
        let of = logs(&of)?;
        found.push((of.exp()? * (&of - logs(&to)?)?)?.sum(D::Minus1)?);
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    // [targets]
    Ok(down("divergences", &Tensor::cat(&found, 0)?)?.into_iter().map(f64::from).collect())
}

/// The variance of the gradient of each target's log-prob with respect to its logits: the gradient is the one-hot
/// vector of the token minus the distribution `p`, so over tokens drawn from `p` its mean is 0 and the mean of its
/// squared norm `1 - sum p^2`. No gradient.
pub fn gradient_variance(
    model: &dyn VisionLanguageModel,
    hidden: &Tensor,
    targets: &[TokenTarget],
    vocabulary: &Vocabulary,
) -> Result<Vec<f64>, ModelError> {
    let (states, _) = states(&hidden.detach(), targets)?;
    let mut found = Vec::new();
    for cut in vocabulary.cuts(targets.len(), model.info().vocab_size) {
        let logits = model.logits(&states.narrow(0, cut.start, cut.len())?)?.detach().to_dtype(DType::F32)?;
        let p = vocabulary.distribution.log_probs(&logits)?.exp()?;
        found.push((&p * &p)?.sum(D::Minus1)?);
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    // [targets]
    let squares = down("gradient variances", &Tensor::cat(&found, 0)?)?;
    Ok(squares.into_iter().map(|sum| (1.0 - f64::from(sum)).max(0.0)).collect())
}

/// Derivatives of a loss with respect to the scores of the targets.
#[derive(Debug, Clone, Copy)]
pub struct ScoreGradients<'a> {
    /// By log-prob.
    pub logprobs: &'a [f32],
    /// By entropy, where it is part of the loss.
    pub entropy: Option<&'a [f32]>,
}

/// The backward pass from the scores to the final hidden states: their gradient `[batch, seq_len, hidden]`. `take` gets
/// the gradients of the output head, in several parts. `gradients` holds the derivatives of the loss by log-prob and
/// entropy.
pub fn scores_backward<E: From<ModelError>>(
    model: &dyn VisionLanguageModel,
    hidden: &Tensor,
    targets: &[TokenTarget],
    vocabulary: &Vocabulary,
    gradients: &ScoreGradients<'_>,
    mut take: impl FnMut(&GradStore) -> Result<(), E>,
) -> Result<Tensor, E> {
    let hidden = hidden.detach();
    let (states, slots) = states(&hidden, targets)?;
    let mut parts = Vec::new();
    for cut in vocabulary.cuts(targets.len(), model.info().vocab_size) {
        let (part, store) = backward_of_cut(model, &states, &cut, targets, vocabulary, gradients)?;
        parts.push(part);
        take(&store)?;
    }
    Ok(spread(&hidden, &slots, &parts)?)
}

fn backward_of_cut(
    model: &dyn VisionLanguageModel,
    states: &Tensor,
    cut: &Range<usize>,
    targets: &[TokenTarget],
    vocabulary: &Vocabulary,
    gradients: &ScoreGradients<'_>,
) -> Result<(Tensor, GradStore), ModelError> {
    // [targets of the chunk, hidden]
    let leaf = Var::from_tensor(&states.narrow(0, cut.start, cut.len())?)?;
    let logits = model.logits(leaf.as_tensor())?.to_dtype(DType::F32)?;
    let (chosen, by_entropy) = (tokens(&targets[cut.clone()]), gradients.entropy.map(|slopes| &slopes[cut.clone()]));
    let by_logprob = &gradients.logprobs[cut.clone()];
    let slope = kernels::token_logprobs_backward(&logits, &chosen, &vocabulary.distribution, by_logprob, by_entropy)?;
    let store = seeded(&logits, &slope)?.backward()?;
    let part = store.get(leaf.as_tensor()).map(Tensor::detach);
    let part = part.ok_or_else(|| ModelError::Input("the output head has no gradient".to_owned()))?;
    Ok((part, store))
}

/// The gradient of all states from those of the selected states.
fn spread(hidden: &Tensor, slots: &Tensor, parts: &[Tensor]) -> Result<Tensor, ModelError> {
    let (rows, seq_len, width) = hidden.dims3()?;
    // [batch * seq_len, hidden]
    let zeros = Tensor::zeros((rows * seq_len, width), hidden.dtype(), hidden.device())?;
    if parts.is_empty() {
        return Ok(zeros.reshape((rows, seq_len, width))?);
    }
    // [targets, hidden] added into [batch, seq_len, hidden]
    Ok(zeros.index_add(slots, &Tensor::cat(parts, 0)?, 0)?.reshape((rows, seq_len, width))?)
}
