//! The two passes of an update: log-probs and focus under the old policy, then loss and gradient. Both run over the
//! same micro-batches, so that before the first update the ratio is exactly 1.

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use parking_lot::Mutex;

use crate::algorithm::objective::LossOutput;
use crate::algorithm::{Algorithm, BatchTotals, LossStats, ResponseTokens};
use crate::model::focus::similarity;
use crate::model::logprob::{ScoreGradients, TokenScores, Vocabulary, divergence, scores_backward, token_scores};
use crate::model::transfers::is_gpu;
use crate::model::{Capture, ModelError, Parameters, Tape, VisionLanguageModel, seeded};

use super::error::TrainError;
use super::layout::Layout;
use super::micro_batch::{Packing, group_micro_batches, micro_batches, padding_share, shared_micro_batches};
use super::optimizer::Gradients;
use super::parallel::Pool;
use super::train_sequence::TrainSequence;

/// The phase that gradients are computed in.
const UPDATE: &str = "update";

/// What the pass under the old policy gives for one sequence.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scored {
    /// Log-prob of each response token.
    pub logprobs: Vec<f64>,
    /// Entropy of the distribution of each response token, in nats.
    pub entropy: Vec<f64>,
    /// Cosine of each response token's state with the visual prototype; empty for text-only prompts.
    pub similarity: Vec<f64>,
    /// Visual dependency of each response token, if it was asked for; empty for text-only prompts.
    pub dependency: Vec<f64>,
}

/// A learner: the model it trains (tracked) and how it scores tokens.
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
    /// How the sequences of a micro-batch become one batch.
    pub packing: Packing,
    /// Most tokens of a micro-batch.
    pub microbatch_tokens: u64,
    /// Gradient checkpointing: keep block inputs instead of the whole graph, and recompute every block in the backward.
    pub checkpointing: bool,
    /// Focus from the state that predicts a token instead of the token's own.
    pub predicting: bool,
}

/// What one mini-batch gave.
#[derive(Debug, Default)]
pub struct MiniBatchOutput {
    /// Gradients, summed over its micro-batches.
    pub gradients: Gradients,
    /// The loss with every term except the entropy bonus.
    pub loss: f64,
    /// Its policy term alone.
    pub policy_loss: f64,
    /// Sums over tokens.
    pub stats: LossStats,
    /// Share of the micro-batches' tokens that was padding; 0 where sequences are packed.
    pub padding_share: f64,
    /// Log-probs of each sequence in this pass, with their entropy where no pass under the old policy measured it.
    pub scored: Vec<Scored>,
}

impl Learner<'_> {
    /// Log-probs, entropy and visual similarity of every sequence under the weights as they are; no gradient.
    pub fn score(&self, sequences: &[&TrainSequence]) -> Result<Vec<Scored>, TrainError> {
        self.score_with(self.detached, sequences)
    }

    /// The same under another model over the same vocabulary, e.g. the reference.
    pub fn score_with(
        &self,
        model: &dyn VisionLanguageModel,
        sequences: &[&TrainSequence],
    ) -> Result<Vec<Scored>, TrainError> {
        self.each(sequences, self.microbatch_tokens, |sequences| self.score_batch(model, sequences))
    }

    /// How much each response token depends on the image (`D_KL` from the token's distribution to that under the masked
    /// images, arXiv 2510.09285, Eq. 3); empty for sequences without masked images.
    pub fn dependency(&self, sequences: &[&TrainSequence]) -> Result<Vec<Vec<f64>>, TrainError> {
        // Two passes are in memory at once.
        self.each(sequences, self.microbatch_tokens / 2, |sequences| self.dependency_of_batch(sequences))
    }

    /// Indices of the sequences of each micro-batch.
    fn split(&self, sequences: &[&TrainSequence], tokens: u64) -> Vec<Vec<usize>> {
        match self.packing {
            Packing::Padded => micro_batches(sequences, tokens),
            Packing::Shared => shared_micro_batches(sequences, tokens, self.pool.threads()),
            Packing::ByGroup => group_micro_batches(sequences, tokens),
        }
    }

    /// `work` on micro-batches; its result for each sequence, in the order of `sequences`.
    pub(super) fn each<T: Default + Clone + Send>(
        &self,
        sequences: &[&TrainSequence],
        tokens: u64,
        work: impl Fn(&[&TrainSequence]) -> Result<Vec<T>, TrainError> + Sync,
    ) -> Result<Vec<T>, TrainError> {
        let mut out = vec![T::default(); sequences.len()];
        let batches = self.split(sequences, tokens);
        let mut order = batches.iter().flatten();
        self.pool.batches_in_waves(
            "scoring",
            &batches,
            |batch| work(&select(sequences, batch)),
            |results| {
                for (result, index) in results.into_iter().zip(order.by_ref()) {
                    out[*index] = result;
                }
                Ok(())
            },
        )?;
        Ok(out)
    }

    fn dependency_of_batch(&self, sequences: &[&TrainSequence]) -> Result<Vec<Vec<f64>>, TrainError> {
        if sequences.iter().all(|sequence| sequence.masked_images.is_none()) {
            return Ok(vec![Vec::new(); sequences.len()]);
        }
        let model = self.detached;
        let (whole, masked) = (self.layout(sequences)?, self.masked_layout(sequences)?);
        // Both [batch, seq_len, hidden].
        let (hidden, other) = (states(model, &whole)?, states(model, &masked)?);
        let mut divergences = divergence(model, &hidden, &other, &whole.targets, &self.vocabulary)?.into_iter();
        let of_sequence = |sequence: &&TrainSequence| {
            // Rounding can leave a divergence of 0 slightly below it.
            let values: Vec<f64> = divergences.by_ref().take(sequence.response_len()).map(|v| v.max(0.0)).collect();
            if sequence.masked_images.is_some() { values } else { Vec::new() }
        };
        Ok(sequences.iter().map(of_sequence).collect())
    }

    fn score_batch(
        &self,
        model: &dyn VisionLanguageModel,
        sequences: &[&TrainSequence],
    ) -> Result<Vec<Scored>, TrainError> {
        let layout = self.layout(sequences)?;
        let hidden = states(model, &layout)?; // [batch, seq_len, hidden]
        let scores = token_scores(model, &hidden, &layout.targets, &self.vocabulary, true)?;
        let similarity = similarity(&hidden, &layout.focus_rows(self.predicting))?;
        let mut scored = by_sequence(sequences, scores);
        for (score, similarity) in scored.iter_mut().zip(similarity) {
            score.similarity = similarity.unwrap_or_default();
        }
        Ok(scored)
    }

    /// Loss and gradient of a mini-batch. `totals` counts the whole mini-batch, so the sum over micro-batches does not
    /// depend on how it was split.
    pub fn gradients(
        &self,
        sequences: &[&TrainSequence],
        algorithm: &dyn Algorithm,
    ) -> Result<MiniBatchOutput, TrainError> {
        let totals = BatchTotals::of(sequences.iter().map(|r| r.loss_tokens()));
        self.gradients_with(sequences, algorithm, totals)
    }

    /// The same of a part of a mini-batch, whose `totals` count all of it.
    pub(super) fn gradients_with(
        &self,
        sequences: &[&TrainSequence],
        algorithm: &dyn Algorithm,
        totals: BatchTotals,
    ) -> Result<MiniBatchOutput, TrainError> {
        let batches = self.split(sequences, self.microbatch_tokens);
        let padding_share = if self.packing == Packing::Padded { padding_share(sequences, &batches) } else { 0.0 };
        let scored = vec![Scored::default(); sequences.len()];
        let mut out = MiniBatchOutput { padding_share, scored, ..MiniBatchOutput::default() };
        // A GPU has no room for a second set of gradients: each part is added to the sum as it comes.
        let sum = is_gpu(self.tracked.device()).then(|| Mutex::new(Gradients::default()));
        let work = |batch: &Vec<usize>| {
            let batch = select(sequences, batch);
            if let Some(sum) = &sum {
                return self.gradients_of_batch(&batch, algorithm, totals, &mut sum.lock());
            }
            let mut gradients = Gradients::default();
            let part = self.gradients_of_batch(&batch, algorithm, totals, &mut gradients)?;
            Ok(MiniBatchOutput { gradients, ..part })
        };
        let mut order = batches.iter().flatten();
        self.pool.batches_in_waves(UPDATE, &batches, work, |part| {
            for (score, index) in part.scored.into_iter().zip(order.by_ref()) {
                out.scored[*index] = score;
            }
            out.loss += part.loss;
            out.policy_loss += part.policy_loss;
            out.stats.merge(&part.stats);
            out.gradients.add(part.gradients)
        })?;
        if let Some(sum) = sum {
            out.gradients = sum.into_inner();
        }
        Ok(out)
    }

    /// Loss and gradient of each of these groups, handed to `take` in their order.
    pub(super) fn gradients_by_group(
        &self,
        groups: &[Vec<&TrainSequence>],
        algorithm: &dyn Algorithm,
        totals: BatchTotals,
        mut take: impl FnMut(MiniBatchOutput) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let batches_of = |group: &Vec<&TrainSequence>| group_micro_batches(group, self.microbatch_tokens);
        let split: Vec<Vec<Vec<usize>>> = groups.iter().map(batches_of).collect();
        let place = |(group, batches): (usize, &Vec<Vec<usize>>)| (0..batches.len()).map(|b| (group, b)).collect();
        let places: Vec<(usize, usize)> = split.iter().enumerate().flat_map::<Vec<_>, _>(place).collect();
        let work = |(group, batch): &(usize, usize)| {
            let batch = select(&groups[*group], &split[*group][*batch]);
            let mut gradients = Gradients::default();
            let part = self.gradients_of_batch(&batch, algorithm, totals, &mut gradients)?;
            Ok(MiniBatchOutput { gradients, ..part })
        };
        let (mut at, mut sum) = (places.iter(), MiniBatchOutput::default());
        self.pool.batches_in_waves(UPDATE, &places, work, |part| {
            // Sequences of a group stay in their order.
            sum.scored.extend(part.scored);
            sum.loss += part.loss;
            sum.policy_loss += part.policy_loss;
            sum.stats.merge(&part.stats);
            sum.gradients.add(part.gradients)?;
            let last = at.next().is_some_and(|(group, batch)| batch + 1 == split[*group].len());
            if last { take(std::mem::take(&mut sum)) } else { Ok(()) }
        })
    }

    /// Loss of a micro-batch; its gradients are added to `gradients`.
    fn gradients_of_batch(
        &self,
        sequences: &[&TrainSequence],
        algorithm: &dyn Algorithm,
        totals: BatchTotals,
        gradients: &mut Gradients,
    ) -> Result<MiniBatchOutput, TrainError> {
        let layout = self.layout(sequences)?;
        let masked_sequences = masked_sequences(sequences, algorithm);
        let masked_layout =
            if masked_sequences.is_empty() { None } else { Some(self.masked_layout(&masked_sequences)?) };
        let with_entropy =
            algorithm.needs().old_logprobs && sequences.iter().any(|sequence| sequence.old_logprobs.is_empty());
        let mut pass = self.forward(&layout, with_entropy)?;
        let masked = masked_layout.as_ref().map(|layout| self.forward(layout, false)).transpose()?;
        let masked_logprobs = masked.as_ref().map(|pass| pass.scores.logprobs.as_slice());
        let loss = algorithm.loss(&responses(sequences, &pass.scores.logprobs, masked_logprobs), totals)?;
        let scored = by_sequence(sequences, std::mem::take(&mut pass.scores));
        // The objective is a plain function of the log-probs: the backward pass starts from its exact derivatives.
        let entropy_coef = algorithm.needs().entropy_coef;
        let entropy = (entropy_coef > 0.0).then(|| entropy_gradients(sequences, &loss, entropy_coef));
        let by_logprob: Vec<f32> =
            loss.responses.iter().flat_map(|r| r.grad_logprobs.iter().map(|g| *g as f32)).collect();
        let by_score = ScoreGradients { logprobs: &by_logprob, entropy: entropy.as_deref() };
        self.backward(pass, &by_score, gradients)?;
        if let Some(masked) = masked {
            let by_logprob: Vec<f32> =
                loss.responses.iter().flat_map(|r| r.grad_masked_logprobs.iter().map(|g| *g as f32)).collect();
            self.backward(masked, &ScoreGradients { logprobs: &by_logprob, entropy: None }, gradients)?;
        }
        let LossOutput { loss, policy_loss, stats, .. } = loss;
        Ok(MiniBatchOutput { loss, policy_loss, stats, scored, ..MiniBatchOutput::default() })
    }

    pub(super) fn layout(&self, sequences: &[&TrainSequence]) -> Result<Layout, TrainError> {
        Layout::new(sequences, self.tracked.info(), self.packing)
    }

    pub(super) fn masked_layout(&self, sequences: &[&TrainSequence]) -> Result<Layout, TrainError> {
        Layout::masked(sequences, self.tracked.info(), self.packing)
    }

    /// A forward pass that keeps what its backward needs.
    fn forward<'b>(&'b self, layout: &'b Layout, entropy: bool) -> Result<Pass<'b>, TrainError> {
        let model = self.tracked;
        let mut tape = if self.checkpointing { Tape::recording() } else { Tape::off() };
        // [batch, seq_len, hidden]
        let hidden =
            if self.checkpointing { model.forward_on(&layout.batch, &mut tape)? } else { states(model, layout)? };
        let scores = token_scores(model, &hidden, &layout.targets, &self.vocabulary, entropy)?;
        Ok(Pass { layout, tape, hidden, scores })
    }

    /// The backward pass from the derivatives of the loss by every token's scores.
    fn backward(
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

/// A forward pass that waits for its backward.
struct Pass<'b> {
    layout: &'b Layout,
    tape: Tape<'b>,
    hidden: Tensor,
    scores: TokenScores,
}

/// The scores of a batch's targets by sequence.
fn by_sequence(sequences: &[&TrainSequence], scores: TokenScores) -> Vec<Scored> {
    let (mut logprobs, mut entropy) = (scores.logprobs.into_iter(), scores.entropy.into_iter());
    let of_sequence = |sequence: &&TrainSequence| Scored {
        logprobs: logprobs.by_ref().take(sequence.response_len()).collect(),
        entropy: entropy.by_ref().take(sequence.response_len()).collect(),
        ..Scored::default()
    };
    sequences.iter().map(of_sequence).collect()
}

fn select<'r>(sequences: &[&'r TrainSequence], batch: &[usize]) -> Vec<&'r TrainSequence> {
    batch.iter().map(|index| sequences[*index]).collect()
}

/// Sequences that the loss reads a second time, with their masked images.
fn masked_sequences<'r>(sequences: &[&'r TrainSequence], algorithm: &dyn Algorithm) -> Vec<&'r TrainSequence> {
    if !algorithm.needs().masked_view.is_some_and(|view| view.in_loss) {
        return Vec::new();
    }
    sequences.iter().copied().filter(|sequence| sequence.masked_images.is_some()).collect()
}

/// The sequences as the objective sees them; `masked` are the log-probs of those that have masked images, in order.
fn responses<'r>(
    sequences: &[&'r TrainSequence],
    logprobs: &'r [f64],
    masked: Option<&'r [f64]>,
) -> Vec<ResponseTokens<'r>> {
    let (mut rest, mut masked_rest) = (logprobs, masked);
    let mut next = |sequence: &&'r TrainSequence| {
        let (own, after) = rest.split_at(sequence.response_len());
        rest = after;
        let mut masked_logprobs = None;
        if let (true, Some(values)) = (sequence.masked_images.is_some(), masked_rest) {
            let (own, after) = values.split_at(sequence.response_len());
            (masked_logprobs, masked_rest) = (Some(own), Some(after));
        }
        ResponseTokens {
            masked_logprobs,
            logprobs: own,
            old_logprobs: if sequence.old_logprobs.is_empty() { own } else { &sequence.old_logprobs },
            advantages: &sequence.advantages,
            correction: sequence.correction.as_deref(),
            reference_logprobs: sequence.reference_logprobs.as_deref(),
            ignored: sequence.ignored,
        }
    };
    sequences.iter().map(&mut next).collect()
}

/// Derivatives of the entropy bonus by every token's entropy.
fn entropy_gradients(sequences: &[&TrainSequence], loss: &LossOutput, coef: f64) -> Vec<f32> {
    let weight =
        |sequence: &&TrainSequence, weight: f64| std::iter::repeat_n((-coef * weight) as f32, sequence.response_len());
    loss.responses.iter().zip(sequences).flat_map(|(response, sequence)| weight(sequence, response.weight)).collect()
}

/// Final hidden states `[batch, seq_len, hidden]`; packed sequences are one row of the batch.
pub(super) fn states(model: &dyn VisionLanguageModel, layout: &Layout) -> Result<Tensor, TrainError> {
    let features = model.features(&layout.batch)?; // [image tokens, hidden]
    Ok(model.forward(&layout.batch, features.as_ref(), None, &mut Capture::none())?)
}
