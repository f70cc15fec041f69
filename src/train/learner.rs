//! The two passes of an update: log-probs and focus under the old policy, then loss and gradient. Both run over the same
//! micro-batches, so that before the first update the ratio is exactly 1.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use crate::algorithm::objective::LossOutput;
use crate::algorithm::{Algorithm, BatchTotals, LossStats, ResponseTokens};
use crate::model::focus::similarity;
use crate::model::logprob::{ScoreGradients, TokenScores, Vocabulary, divergence, scores_backward, token_scores};
use crate::model::{Capture, ModelError, Parameters, Tape, VisionLanguageModel, seeded};

use super::error::TrainError;
use super::layout::Layout;
use super::micro_batch::{Packing, micro_batches, padding_share, shared_micro_batches};
use super::optimizer::Gradients;
use super::parallel::Pool;
use super::train_row::TrainRow;

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
    /// How the rows of a micro-batch become one batch.
    pub packing: Packing,
    /// Tokens of a micro-batch at most.
    pub microbatch_tokens: u64,
    /// Keep block inputs instead of the whole graph, and run every block again in the backward pass.
    pub checkpointing: bool,
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
    /// Share of the micro-batches' tokens that was padding; none where rows are packed.
    pub padding_share: f64,
    /// Log-probs of each row in this pass, with their entropy where no pass under the old policy has told it.
    pub scored: Vec<Scored>,
}

impl Learner<'_> {
    /// Log-probs, entropy and visual similarity of every row under the weights as they are; no gradient.
    pub fn score(&self, rows: &[&TrainRow]) -> Result<Vec<Scored>, TrainError> {
        self.score_with(self.detached, rows)
    }

    /// The same under another model over the same vocabulary, e.g. the reference.
    pub fn score_with(&self, model: &dyn VisionLanguageModel, rows: &[&TrainRow]) -> Result<Vec<Scored>, TrainError> {
        self.each(rows, self.microbatch_tokens, |rows| self.score_batch(model, rows))
    }

    /// How much each response token depends on the image (`D_KL` from the token's distribution to that under the masked
    /// images, arXiv 2510.09285, Eq. 3); empty for rows without masked images.
    pub fn dependency(&self, rows: &[&TrainRow]) -> Result<Vec<Vec<f64>>, TrainError> {
        // Two passes live at once.
        self.each(rows, self.microbatch_tokens / 2, |rows| self.dependency_of_batch(rows))
    }

    /// Indices of the rows of each micro-batch.
    fn cut(&self, rows: &[&TrainRow], tokens: u64) -> Vec<Vec<usize>> {
        match self.packing {
            Packing::Padded => micro_batches(rows, tokens),
            Packing::Shared => shared_micro_batches(rows, tokens, self.pool.threads()),
        }
    }

    /// `work` on micro-batches; what it gives for each row, in the order of `rows`.
    fn each<T: Default + Clone + Send>(
        &self,
        rows: &[&TrainRow],
        tokens: u64,
        work: impl Fn(&[&TrainRow]) -> Result<Vec<T>, TrainError> + Sync,
    ) -> Result<Vec<T>, TrainError> {
        let mut out = vec![T::default(); rows.len()];
        let batches = self.cut(rows, tokens);
        let mut order = batches.iter().flatten();
        self.pool.in_waves(
            &batches,
            |batch| work(&chosen(rows, batch)),
            |found| {
                for (found, row) in found.into_iter().zip(order.by_ref()) {
                    out[*row] = found;
                }
                Ok(())
            },
        )?;
        Ok(out)
    }

    fn dependency_of_batch(&self, rows: &[&TrainRow]) -> Result<Vec<Vec<f64>>, TrainError> {
        if rows.iter().all(|row| row.masked_images.is_none()) {
            return Ok(vec![Vec::new(); rows.len()]);
        }
        let model = self.detached;
        let (whole, masked) = (self.layout(rows)?, self.masked_layout(rows)?);
        // Both [batch, seq_len, hidden].
        let (hidden, other) = (states(model, &whole)?, states(model, &masked)?);
        let mut found = divergence(model, &hidden, &other, &whole.targets, &self.vocabulary)?.into_iter();
        let of_row = |row: &&TrainRow| {
            // Rounding can leave a divergence of 0 slightly below it.
            let values: Vec<f64> = found.by_ref().take(row.response_len()).map(|v| v.max(0.0)).collect();
            if row.masked_images.is_some() { values } else { Vec::new() }
        };
        Ok(rows.iter().map(of_row).collect())
    }

    fn score_batch(&self, model: &dyn VisionLanguageModel, rows: &[&TrainRow]) -> Result<Vec<Scored>, TrainError> {
        let layout = self.layout(rows)?;
        let hidden = states(model, &layout)?; // [batch, seq_len, hidden]
        let found = token_scores(model, &hidden, &layout.targets, &self.vocabulary, true)?;
        let similarity = similarity(&hidden, &layout.focus_rows(self.predicting))?;
        let mut scored = by_row(rows, found);
        for (score, similarity) in scored.iter_mut().zip(similarity) {
            score.similarity = similarity.unwrap_or_default();
        }
        Ok(scored)
    }

    /// Loss and gradient of a mini-batch. `totals` counts the whole mini-batch, so the sum over micro-batches does not
    /// depend on how it was cut.
    pub fn gradients(&self, rows: &[&TrainRow], algorithm: &dyn Algorithm) -> Result<MiniBatchOutput, TrainError> {
        let totals = BatchTotals::of(rows.iter().map(|r| r.response_len()));
        let batches = self.cut(rows, self.microbatch_tokens);
        let padding_share = if self.packing == Packing::Padded { padding_share(rows, &batches) } else { 0.0 };
        let scored = vec![Scored::default(); rows.len()];
        let mut out = MiniBatchOutput { padding_share, scored, ..MiniBatchOutput::default() };
        let work = |batch: &Vec<usize>| self.gradients_of_batch(&chosen(rows, batch), algorithm, totals);
        let mut order = batches.iter().flatten();
        self.pool.in_waves(&batches, work, |part| {
            for (score, row) in part.scored.into_iter().zip(order.by_ref()) {
                out.scored[*row] = score;
            }
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
        let layout = self.layout(rows)?;
        let masked_rows = masked_rows(rows, algorithm);
        let masked_layout = if masked_rows.is_empty() { None } else { Some(self.masked_layout(&masked_rows)?) };
        let tells_entropy = algorithm.needs().old_logprobs && rows.iter().any(|row| row.old_logprobs.is_empty());
        let mut pass = self.read(&layout, tells_entropy)?;
        let masked = masked_layout.as_ref().map(|layout| self.read(layout, false)).transpose()?;
        let masked_logprobs = masked.as_ref().map(|pass| pass.scores.logprobs.as_slice());
        let loss = algorithm.loss(&responses(rows, &pass.scores.logprobs, masked_logprobs), totals)?;
        let scored = by_row(rows, std::mem::take(&mut pass.scores));
        // The objective is a plain function of the log-probs: its exact derivatives are where the backward pass starts.
        let entropy_coef = algorithm.needs().entropy_coef;
        let entropy = (entropy_coef > 0.0).then(|| entropy_slopes(rows, &loss, entropy_coef));
        let slopes: Vec<f32> = loss.responses.iter().flat_map(|r| r.grad_logprobs.iter().map(|g| *g as f32)).collect();
        let mut gradients = Gradients::default();
        let by_score = ScoreGradients { logprobs: &slopes, entropy: entropy.as_deref() };
        self.go_back(pass, &by_score, &mut gradients)?;
        if let Some(masked) = masked {
            let slopes: Vec<f32> =
                loss.responses.iter().flat_map(|r| r.grad_masked_logprobs.iter().map(|g| *g as f32)).collect();
            self.go_back(masked, &ScoreGradients { logprobs: &slopes, entropy: None }, &mut gradients)?;
        }
        let LossOutput { loss, policy_loss, stats, .. } = loss;
        Ok(MiniBatchOutput { gradients, loss, policy_loss, stats, padding_share: 0.0, scored })
    }

    fn layout(&self, rows: &[&TrainRow]) -> Result<Layout, TrainError> {
        Layout::new(rows, self.tracked.info(), self.packing)
    }

    fn masked_layout(&self, rows: &[&TrainRow]) -> Result<Layout, TrainError> {
        Layout::masked(rows, self.tracked.info(), self.packing)
    }

    /// A forward pass that can be gone back.
    fn read<'b>(&'b self, layout: &'b Layout, entropy: bool) -> Result<Pass<'b>, TrainError> {
        let model = self.tracked;
        let mut tape = if self.checkpointing { Tape::recording() } else { Tape::off() };
        // [batch, seq_len, hidden]
        let hidden =
            if self.checkpointing { model.forward_on(&layout.batch, &mut tape)? } else { states(model, layout)? };
        let scores = token_scores(model, &hidden, &layout.targets, &self.vocabulary, entropy)?;
        Ok(Pass { layout, tape, hidden, scores })
    }

    /// The backward pass from the derivatives of the loss by every token's scores.
    fn go_back(
        &self,
        pass: Pass<'_>,
        by_score: &ScoreGradients<'_>,
        gradients: &mut Gradients,
    ) -> Result<(), TrainError> {
        let Pass { layout, tape, hidden, .. } = pass;
        let mut take = |store: &GradStore| gradients.collect(store, self.parameters);
        // [batch, seq_len, hidden], as `hidden` is.
        let by_hidden = scores_backward(self.tracked, &hidden, &layout.targets, &self.vocabulary, by_score, &mut take)?;
        if self.checkpointing {
            tape.backward(&hidden, by_hidden, take)
        } else if hidden.track_op() {
            take(&seeded(&hidden, &by_hidden).and_then(|seed| seed.backward()).map_err(ModelError::from)?)
        } else {
            Ok(())
        }
    }
}

/// A forward pass on its way to its backward.
struct Pass<'b> {
    layout: &'b Layout,
    tape: Tape<'b>,
    hidden: Tensor,
    scores: TokenScores,
}

/// The scores of a batch's targets by row.
fn by_row(rows: &[&TrainRow], scores: TokenScores) -> Vec<Scored> {
    let (mut logprobs, mut entropy) = (scores.logprobs.into_iter(), scores.entropy.into_iter());
    let of_row = |row: &&TrainRow| Scored {
        logprobs: logprobs.by_ref().take(row.response_len()).collect(),
        entropy: entropy.by_ref().take(row.response_len()).collect(),
        ..Scored::default()
    };
    rows.iter().map(of_row).collect()
}

fn chosen<'r>(rows: &[&'r TrainRow], batch: &[usize]) -> Vec<&'r TrainRow> {
    batch.iter().map(|row| rows[*row]).collect()
}

/// Rows that the loss looks at a second time, with their masked images.
fn masked_rows<'r>(rows: &[&'r TrainRow], algorithm: &dyn Algorithm) -> Vec<&'r TrainRow> {
    if !algorithm.needs().masked_view.is_some_and(|view| view.in_loss) {
        return Vec::new();
    }
    rows.iter().copied().filter(|row| row.masked_images.is_some()).collect()
}

/// The rows as the objective sees them; `masked` are the log-probs of those that have masked images, in order.
fn responses<'r>(rows: &[&'r TrainRow], logprobs: &'r [f64], masked: Option<&'r [f64]>) -> Vec<ResponseTokens<'r>> {
    let (mut rest, mut masked_rest) = (logprobs, masked);
    let mut next = |row: &&'r TrainRow| {
        let (own, after) = rest.split_at(row.response_len());
        rest = after;
        let mut masked_logprobs = None;
        if let (true, Some(values)) = (row.masked_images.is_some(), masked_rest) {
            let (own, after) = values.split_at(row.response_len());
            (masked_logprobs, masked_rest) = (Some(own), Some(after));
        }
        ResponseTokens {
            masked_logprobs,
            logprobs: own,
            old_logprobs: if row.old_logprobs.is_empty() { own } else { &row.old_logprobs },
            advantages: &row.advantages,
            correction: row.correction.as_deref(),
            reference_logprobs: row.reference_logprobs.as_deref(),
        }
    };
    rows.iter().map(&mut next).collect()
}

/// Derivatives of the entropy bonus by every token's entropy.
fn entropy_slopes(rows: &[&TrainRow], loss: &LossOutput, coef: f64) -> Vec<f32> {
    let weight = |row: &&TrainRow, weight: f64| std::iter::repeat_n((-coef * weight) as f32, row.response_len());
    loss.responses.iter().zip(rows).flat_map(|(response, row)| weight(row, response.weight)).collect()
}

/// Final hidden states `[batch, seq_len, hidden]`; rows that are packed are one sequence of the batch.
fn states(model: &dyn VisionLanguageModel, layout: &Layout) -> Result<Tensor, TrainError> {
    let features = model.features(&layout.batch)?; // [image tokens, hidden]
    Ok(model.forward(&layout.batch, features.as_ref(), None, &mut Capture::none())?)
}
