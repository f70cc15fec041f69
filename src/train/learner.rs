//! The two passes of an update: log-probs and focus under the old policy, then loss and gradient. Both run over the same
//! micro-batches, so that before the first update the ratio is exactly 1.

use std::sync::Arc;

use candle_core::Tensor;

use crate::algorithm::objective::ResponseLoss;
use crate::algorithm::{Algorithm, BatchTotals, LossStats, ResponseTokens};
use crate::model::focus::{FocusRow, similarity};
use crate::model::logprob::{TokenLogprobs, TokenTarget, Vocabulary, divergence, response_logprobs};
use crate::model::{Batch, Capture, ImagePatches, ModelInfo, Parameters, Sequence, VisionLanguageModel};

use super::error::TrainError;
use super::optimizer::Gradients;
use super::parallel::Pool;

/// One response behind its prompt.
#[derive(Debug, Clone, Default)]
pub struct TrainRow {
    /// Prompt and response.
    pub sequence: Sequence,
    /// The row's images with patches hidden, where the objective looks at them and the prompt has any.
    pub masked_images: Option<Vec<Arc<ImagePatches>>>,
    /// Tokens of the prompt.
    pub prompt_len: usize,
    /// Log-probs under the policy that the step began with, once they are known.
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

    /// The row with its masked images; the row itself where it has none.
    fn masked(&self) -> Sequence {
        let images = self.masked_images.as_ref().unwrap_or(&self.sequence.images);
        Sequence { ids: self.sequence.ids.clone(), images: images.clone() }
    }
}

/// What the pass over the old policy gives for one row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scored {
    /// Log-prob of each response token.
    pub logprobs: Vec<f64>,
    /// Entropy of the distribution of each response token, in nat.
    pub entropy: Vec<f64>,
    /// Cosine of each response token's state with the visual prototype; empty for text-only prompts.
    pub similarity: Vec<f64>,
    /// Visual dependency of each response token, if it was asked for; empty for text-only prompts.
    pub dependency: Vec<f64>,
}

/// Cuts rows into micro-batches of at most `tokens` padded tokens (a longer row stands alone), keeping their order: rows of
/// a group stay neighbours, so their image is encoded once.
pub fn micro_batches<'a>(rows: &[&'a TrainRow], tokens: u64) -> Vec<Vec<&'a TrainRow>> {
    let mut out: Vec<Vec<&TrainRow>> = Vec::new();
    let mut longest = 0;
    for row in rows {
        let length = row.sequence.ids.len();
        let fits = out.last().is_some_and(|b| ((b.len() + 1) * length.max(longest)) as u64 <= tokens);
        match out.last_mut() {
            Some(batch) if fits => {
                longest = longest.max(length);
                batch.push(row);
            }
            _ => {
                longest = length;
                out.push(vec![row]);
            }
        }
    }
    out
}

/// Which states a row's tokens are predicted and read from, in a padded batch.
struct Layout {
    batch: Batch,
    targets: Vec<TokenTarget>,
}

impl Layout {
    fn new(rows: &[&TrainRow], info: &ModelInfo) -> Result<Self, TrainError> {
        let sequences: Vec<&Sequence> = rows.iter().map(|r| &r.sequence).collect();
        Self::of(&sequences, rows, info)
    }

    /// The same places over the masked images.
    fn masked(rows: &[&TrainRow], info: &ModelInfo) -> Result<Self, TrainError> {
        let sequences: Vec<Sequence> = rows.iter().map(|r| r.masked()).collect();
        Self::of(&sequences.iter().collect::<Vec<_>>(), rows, info)
    }

    fn of(sequences: &[&Sequence], rows: &[&TrainRow], info: &ModelInfo) -> Result<Self, TrainError> {
        let batch = Batch::new(sequences, info)?;
        let mut targets = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let start = index * batch.columns + batch.padding[index] + row.prompt_len;
            let response = &row.sequence.ids[row.prompt_len..];
            // The state one column before a token predicts it.
            targets.extend(
                response.iter().enumerate().map(|(t, id)| TokenTarget { slot: (start + t - 1) as u32, token: *id }),
            );
        }
        Ok(Self { batch, targets })
    }

    /// Image slots and state slots of every row. `offset` 0: the states that read the tokens; 1: those that predict them.
    fn focus_rows(&self, rows: &[&TrainRow], offset: usize) -> Vec<FocusRow> {
        let columns = self.batch.columns;
        let mut out: Vec<FocusRow> = rows
            .iter()
            .enumerate()
            .map(|(index, row)| {
                let start = index * columns + self.batch.padding[index] + row.prompt_len - offset;
                FocusRow { image: Vec::new(), states: (start..start + row.response_len()).map(|s| s as u32).collect() }
            })
            .collect();
        for slot in &self.batch.image_slots {
            out[*slot as usize / columns].image.push(*slot);
        }
        out
    }
}

/// A learner: the model it trains (tracked) and how it looks at tokens.
pub struct Learner<'a> {
    /// Where micro-batches run.
    pub pool: &'a Pool,
    /// The model over tracked weights.
    pub tracked: &'a dyn VisionLanguageModel,
    /// The same model over detached weights.
    pub detached: &'a dyn VisionLanguageModel,
    /// The variables of both.
    pub parameters: &'a Parameters,
    /// The distribution that log-probs are taken from.
    pub vocabulary: Vocabulary,
    /// Padded tokens of a micro-batch at most.
    pub microbatch_tokens: u64,
    /// Focus from the predicting state instead of the reading one.
    pub predicting: bool,
}

/// What one mini-batch gave.
#[derive(Debug, Default)]
pub struct MiniBatchOutput {
    /// Gradients, summed over its micro-batches.
    pub gradients: Gradients,
    /// The loss, every term but the entropy bonus in it.
    pub loss: f64,
    /// Its policy term alone.
    pub policy_loss: f64,
    /// Sums over tokens.
    pub stats: LossStats,
}

impl Learner<'_> {
    fn forward(
        &self,
        model: &dyn VisionLanguageModel,
        layout: &Layout,
        entropy_gradient: bool,
    ) -> Result<(Tensor, TokenLogprobs), TrainError> {
        let hidden = states(model, layout)?;
        let logprobs = response_logprobs(model, &hidden, &layout.targets, &self.vocabulary, entropy_gradient)?;
        Ok((hidden, logprobs))
    }

    /// Log-probs, entropy and visual similarity of every row under the weights as they are; no gradient.
    pub fn score(&self, rows: &[&TrainRow]) -> Result<Vec<Scored>, TrainError> {
        self.score_with(self.detached, rows)
    }

    /// The same under another model over the same vocabulary, e.g. the reference.
    pub fn score_with(&self, model: &dyn VisionLanguageModel, rows: &[&TrainRow]) -> Result<Vec<Scored>, TrainError> {
        let mut out = Vec::with_capacity(rows.len());
        let work = |batch: &Vec<&TrainRow>| self.score_batch(model, batch);
        self.pool.in_waves(&micro_batches(rows, self.microbatch_tokens), work, |scored| {
            out.extend(scored);
            Ok(())
        })?;
        Ok(out)
    }

    /// How much each response token depends on the image (`D_KL` from the token's distribution to that under the masked
    /// images, arXiv 2510.09285, Eq. 3); empty for rows without masked images.
    pub fn dependency(&self, rows: &[&TrainRow]) -> Result<Vec<Vec<f64>>, TrainError> {
        let mut out = Vec::with_capacity(rows.len());
        let work = |batch: &Vec<&TrainRow>| self.dependency_of_batch(batch);
        // Two passes live at once.
        self.pool.in_waves(&micro_batches(rows, self.microbatch_tokens / 2), work, |found| {
            out.extend(found);
            Ok(())
        })?;
        Ok(out)
    }

    fn dependency_of_batch(&self, rows: &[&TrainRow]) -> Result<Vec<Vec<f64>>, TrainError> {
        if rows.iter().all(|row| row.masked_images.is_none()) {
            return Ok(vec![Vec::new(); rows.len()]);
        }
        let model = self.detached;
        let (whole, masked) = (Layout::new(rows, model.info())?, Layout::masked(rows, model.info())?);
        let (hidden, other) = (states(model, &whole)?, states(model, &masked)?);
        let mut found = to_f64(&divergence(model, &hidden, &other, &whole.targets, &self.vocabulary)?)?.into_iter();
        let of_row = |row: &&TrainRow| {
            // Rounding can leave a divergence of 0 slightly below it.
            let values: Vec<f64> = found.by_ref().take(row.response_len()).map(|v| v.max(0.0)).collect();
            if row.masked_images.is_some() { values } else { Vec::new() }
        };
        Ok(rows.iter().map(of_row).collect())
    }

    fn score_batch(&self, model: &dyn VisionLanguageModel, rows: &[&TrainRow]) -> Result<Vec<Scored>, TrainError> {
        let layout = Layout::new(rows, model.info())?;
        let (hidden, found) = self.forward(model, &layout, false)?;
        let similarity = similarity(&hidden, &layout.focus_rows(rows, usize::from(self.predicting)))?;
        let mut logprobs = to_f64(&found.logprobs)?.into_iter();
        let mut entropy = to_f64(&found.entropy)?.into_iter();
        Ok(rows
            .iter()
            .zip(similarity)
            .map(|(row, similarity)| Scored {
                logprobs: logprobs.by_ref().take(row.response_len()).collect(),
                entropy: entropy.by_ref().take(row.response_len()).collect(),
                similarity: similarity.unwrap_or_default(),
                dependency: Vec::new(),
            })
            .collect())
    }

    /// Loss and gradient of a mini-batch. `totals` counts the whole mini-batch, so the sum over micro-batches does not
    /// depend on how it was cut.
    pub fn gradients(&self, rows: &[&TrainRow], algorithm: &dyn Algorithm) -> Result<MiniBatchOutput, TrainError> {
        let totals = BatchTotals::of(rows.iter().map(|r| r.response_len()));
        let mut out = MiniBatchOutput::default();
        let work = |batch: &Vec<&TrainRow>| self.gradients_of_batch(batch, algorithm, totals);
        self.pool.in_waves(&micro_batches(rows, self.microbatch_tokens), work, |part| {
            out.loss += part.loss;
            out.policy_loss += part.policy_loss;
            out.stats.merge(&part.stats);
            out.gradients.add(part.gradients)
        })?;
        Ok(out)
    }

    fn gradients_of_batch(
        &self,
        rows: &[&TrainRow],
        algorithm: &dyn Algorithm,
        totals: BatchTotals,
    ) -> Result<MiniBatchOutput, TrainError> {
        let layout = Layout::new(rows, self.tracked.info())?;
        let entropy_coef = algorithm.entropy_coef();
        let (_, found) = self.forward(self.tracked, &layout, entropy_coef > 0.0)?;
        let logprobs = to_f64(&found.logprobs)?;
        let masked = match algorithm.masked_view() {
            Some(view) if view.in_loss => Some(self.masked_logprobs(rows)?),
            _ => None,
        };
        let masked_values = masked.as_ref().map(to_f64).transpose()?.unwrap_or_default();
        let (mut at, mut masked_at) = (0, 0);
        let mut responses = Vec::with_capacity(rows.len());
        for row in rows {
            let end = at + row.response_len();
            let masked_end = masked_at + if row.masked_images.is_some() { row.response_len() } else { 0 };
            let masked_logprobs = masked_values.get(masked_at..masked_end).filter(|_| masked_end > masked_at);
            masked_at = masked_end;
            responses.push(ResponseTokens {
                masked_logprobs,
                logprobs: &logprobs[at..end],
                old_logprobs: &row.old_logprobs,
                advantages: &row.advantages,
                correction: row.correction.as_deref(),
                reference_logprobs: row.reference_logprobs.as_deref(),
            });
            at = end;
        }
        let loss = algorithm.loss(&responses, totals)?;
        // The objective is a plain function of the log-probs; its exact gradient enters the graph as a constant factor.
        let factors = loss.responses.iter().flat_map(|r| r.grad_logprobs.iter().map(|g| *g as f32));
        let factors = Tensor::from_iter(factors, self.tracked.device())?;
        let mut surrogate = (&found.logprobs * factors)?.sum_all()?;
        if entropy_coef > 0.0 {
            let weight =
                |row: (&ResponseLoss, usize)| std::iter::repeat_n((-entropy_coef * row.0.weight) as f32, row.1);
            let lengths = rows.iter().map(|row| row.response_len());
            let weights = loss.responses.iter().zip(lengths).flat_map(weight);
            let weights = Tensor::from_iter(weights, self.tracked.device())?;
            surrogate = (surrogate + (&found.entropy * weights)?.sum_all()?)?;
        }
        if let Some(masked) = masked.filter(|_| !masked_values.is_empty()) {
            let factors = loss.responses.iter().flat_map(|r| r.grad_masked_logprobs.iter().map(|g| *g as f32));
            let factors = Tensor::from_iter(factors, self.tracked.device())?;
            surrogate = (surrogate + (masked * factors)?.sum_all()?)?;
        }
        let gradients = Gradients::of(&surrogate, self.parameters)?;
        Ok(MiniBatchOutput { gradients, loss: loss.loss, policy_loss: loss.policy_loss, stats: loss.stats })
    }

    /// Log-probs of the rows that have masked images, read with those, one after the other; differentiable.
    fn masked_logprobs(&self, rows: &[&TrainRow]) -> Result<Tensor, TrainError> {
        let rows: Vec<&TrainRow> = rows.iter().copied().filter(|row| row.masked_images.is_some()).collect();
        if rows.is_empty() {
            return Ok(Tensor::zeros(0, candle_core::DType::F32, self.tracked.device())?);
        }
        let layout = Layout::masked(&rows, self.tracked.info())?;
        Ok(self.forward(self.tracked, &layout, false)?.1.logprobs)
    }
}

/// Final hidden states of a padded batch.
fn states(model: &dyn VisionLanguageModel, layout: &Layout) -> Result<Tensor, TrainError> {
    let features = model.features(&layout.batch)?;
    Ok(model.forward(&layout.batch, features.as_ref(), None, &mut Capture::none())?)
}

fn to_f64(values: &Tensor) -> Result<Vec<f64>, TrainError> {
    Ok(values.detach().to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}
