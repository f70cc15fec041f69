//! Log-probs of given tokens: logits only where a token is predicted, and only so many at a time that their memory does
//! not grow with the batch. The backward pass computes them again instead of keeping them.

use std::ops::Range;

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Tensor, Var};

use super::kernels::{self, Distribution};
use super::seed::seeded;
use super::{ModelError, ModelInfo, VisionLanguageModel};

/// Logits that are held at a time at most (64 MiB of 32-bit floats): many positions of a small vocabulary, and enough of a
/// large one to keep matrix products busy.
pub const LOGITS_AT_ONCE: usize = 1 << 24;

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
    distribution: Distribution,
    logits_at_once: usize,
}

impl Vocabulary {
    /// The model's own distribution at a temperature.
    pub fn plain(temperature: f64) -> Self {
        Self { distribution: Distribution { temperature, left_out: Vec::new() }, logits_at_once: LOGITS_AT_ONCE }
    }

    /// The distribution that rollouts sample from: logits divided by the temperature, image and video placeholders left
    /// out. Top-p is ignored, as in the reference implementations.
    pub fn rollout(info: &ModelInfo, temperature: f64) -> Self {
        let left_out = vec![info.image_token_id, info.video_token_id];
        Self { distribution: Distribution { temperature, left_out }, logits_at_once: LOGITS_AT_ONCE }
    }

    /// The same with another limit on the logits held at a time; one position is always held.
    #[must_use]
    pub fn with_logits_at_once(self, logits: usize) -> Self {
        Self { logits_at_once: logits, ..self }
    }

    /// Positions whose logits are held at a time, of a vocabulary of `size` tokens.
    pub fn positions_at_once(&self, size: usize) -> usize {
        (self.logits_at_once / size.max(1)).max(1)
    }

    fn cuts(&self, targets: usize, size: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let step = self.positions_at_once(size);
        (0..targets).step_by(step).map(move |start| start..targets.min(start + step))
    }
}

/// Log-prob and, where asked for, entropy of each target.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenScores {
    /// Log-prob of each target.
    pub logprobs: Vec<f64>,
    /// Entropy in nat of each target's distribution; empty where not asked for.
    pub entropy: Vec<f64>,
}

/// States `[targets, hidden]` that predict the targets, of final hidden states `[rows, columns, hidden]`.
fn states(hidden: &Tensor, targets: &[TokenTarget]) -> Result<(Tensor, Tensor), ModelError> {
    let (rows, columns, width) = hidden.dims3()?;
    let slots = Tensor::from_iter(targets.iter().map(|t| t.slot), hidden.device())?;
    let states = hidden.reshape((rows * columns, width))?.index_select(&slots, 0)?;
    Ok((states, slots))
}

fn tokens(targets: &[TokenTarget]) -> Vec<u32> {
    targets.iter().map(|t| t.token).collect()
}

fn values(t: &Tensor) -> Result<Vec<f64>, ModelError> {
    Ok(t.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

/// Scores of `targets` under final hidden states `[rows, columns, hidden]`; no gradient.
pub fn token_scores(
    model: &dyn VisionLanguageModel,
    hidden: &Tensor,
    targets: &[TokenTarget],
    vocabulary: &Vocabulary,
    entropy: bool,
) -> Result<TokenScores, ModelError> {
    let (states, _) = states(&hidden.detach(), targets)?;
    let mut scores = TokenScores::default();
    for cut in vocabulary.cuts(targets.len(), model.info().vocab_size) {
        let logits = model.logits(&states.narrow(0, cut.start, cut.len())?)?.detach().to_dtype(DType::F32)?;
        let (logprobs, spread) = kernels::choice(&logits, &tokens(&targets[cut]), &vocabulary.distribution, entropy)?;
        scores.logprobs.extend(logprobs);
        scores.entropy.extend(spread);
    }
    // A token that is left out of the distribution has no chance at all.
    let is_odd = |(logprob, target): (&f64, &TokenTarget)| {
        !logprob.is_finite() && !vocabulary.distribution.left_out.contains(&target.token)
    };
    if scores.logprobs.iter().zip(targets).any(is_odd) {
        return Err(ModelError::NotFinite("log-probs"));
    }
    Ok(scores)
}

/// KL in nat from each target's distribution under `hidden` to that under `other`, the states of a batch of the same layout:
/// how much a token's choice depends on what differs between the two. No gradient.
pub fn divergence(
    model: &dyn VisionLanguageModel,
    hidden: &Tensor,
    other: &Tensor,
    targets: &[TokenTarget],
    vocabulary: &Vocabulary,
) -> Result<Vec<f64>, ModelError> {
    let ((of, _), (to, _)) = (states(&hidden.detach(), targets)?, states(&other.detach(), targets)?);
    let mut found = Vec::with_capacity(targets.len());
    for cut in vocabulary.cuts(targets.len(), model.info().vocab_size) {
        let logs = |states: &Tensor| -> Result<Tensor, ModelError> {
            let logits = model.logits(&states.narrow(0, cut.start, cut.len())?)?.detach().to_dtype(DType::F32)?;
            Ok(vocabulary.distribution.log_probs(&logits)?)
        };
        let of = logs(&of)?;
        found.extend(values(&(of.exp()? * (&of - logs(&to)?)?)?.sum(D::Minus1)?)?);
    }
    Ok(found)
}

/// Derivatives of a loss with respect to the scores of the targets.
#[derive(Debug, Clone, Copy)]
pub struct ScoreGradients<'a> {
    /// By log-prob.
    pub logprobs: &'a [f32],
    /// By entropy, where it is part of the loss.
    pub entropy: Option<&'a [f32]>,
}

/// The backward pass from the scores to the final hidden states: their gradient `[rows, columns, hidden]`. `take` gets the
/// gradients of the output head, in several parts. `entropy`'s and log-probs' derivatives are in `gradients`.
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
    let leaf = Var::from_tensor(&states.narrow(0, cut.start, cut.len())?)?;
    let logits = model.logits(leaf.as_tensor())?.to_dtype(DType::F32)?;
    let (chosen, by_entropy) = (tokens(&targets[cut.clone()]), gradients.entropy.map(|slopes| &slopes[cut.clone()]));
    let by_logprob = &gradients.logprobs[cut.clone()];
    let slope = kernels::choice_backward(&logits, &chosen, &vocabulary.distribution, by_logprob, by_entropy)?;
    let store = seeded(&logits, &slope)?.backward()?;
    let part = store.get(leaf.as_tensor()).map(Tensor::detach);
    let part = part.ok_or_else(|| ModelError::Input("the output head passes no gradient on".to_owned()))?;
    Ok((part, store))
}

/// Gradients of the chosen states as one of all states.
fn spread(hidden: &Tensor, slots: &Tensor, parts: &[Tensor]) -> Result<Tensor, ModelError> {
    let (rows, columns, width) = hidden.dims3()?;
    let zeros = Tensor::zeros((rows * columns, width), hidden.dtype(), hidden.device())?;
    if parts.is_empty() {
        return Ok(zeros.reshape((rows, columns, width))?);
    }
    Ok(zeros.index_add(slots, &Tensor::cat(parts, 0)?, 0)?.reshape((rows, columns, width))?)
}
