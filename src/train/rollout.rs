//! Sampling responses: one prefill per prompt, then a group of samples that continue it. Finished samples leave the
//! batch and those of the next prompts join it (continuous batching).

use std::rc::Rc;

use rand_chacha::ChaCha8Rng;

use crate::model::generate::{Generation, Prefill};
use crate::model::sampler::Sampler;
use crate::model::{Capture, ModelInfo, Sequence, VisionLanguageModel, focus};

use super::error::TrainError;
use super::parallel::Pool;

/// Finished samples leave the batch, and others join it, once they are this share of it: each change copies the KV
/// cache.
const MOVED_SHARE: f64 = 0.25;

/// Settings of a rollout.
#[derive(Debug, Clone, Copy)]
pub struct RolloutSettings {
    /// Responses per prompt.
    pub group_size: usize,
    /// Most samples that a thread decodes together; a group is never divided.
    pub rows: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus share.
    pub top_p: f64,
    /// Longest response.
    pub max_new_tokens: usize,
    /// Record the attention with which each token was predicted.
    pub attention: bool,
    /// Record the similarity of each token's state with the visual prototype.
    pub similarity: bool,
}

/// Shares of attention that sum to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AttentionShares {
    /// To image tokens.
    pub image: f64,
    /// To the other prompt tokens.
    pub query: f64,
    /// To the response's own tokens.
    pub generated: f64,
}

/// One sampled response.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rollout {
    /// Its tokens, the end token included.
    pub tokens: Vec<u32>,
    /// Log-prob of each token under the distribution it was drawn from, top-p ignored.
    pub logprobs: Vec<f64>,
    /// Did the length limit end it?
    pub cut_off: bool,
    /// Per token, the attention of the query that predicts it (mean over layers and heads), if recorded.
    pub attention: Vec<AttentionShares>,
    /// Per token, the cosine of its state with the visual prototype, if recorded and the prompt has an image.
    pub similarity: Vec<f64>,
}

/// Responses to every prompt, `group_size` each, in order. `rng(prompt, sample)` gives each response a stream of its
/// own.
///
/// Each thread has a fixed share of the prompts, so that batches never depend on which thread was faster.
pub fn rollout(
    pool: &Pool,
    model: &dyn VisionLanguageModel,
    prompts: &[&Sequence],
    settings: &RolloutSettings,
    rng: impl Fn(usize, usize) -> ChaCha8Rng + Sync,
) -> Result<Vec<Vec<Rollout>>, TrainError> {
    let share = prompts.len().div_ceil(pool.threads()).max(1);
    let shares: Vec<(usize, &[&Sequence])> =
        prompts.chunks(share).enumerate().map(|(i, part)| (i * share, part)).collect();
    let mut out = Vec::with_capacity(prompts.len());
    let work = |(first, prompts): &(usize, &[&Sequence])| {
        Sampling::new(model, prompts, settings, |prompt, sample| rng(first + prompt, sample)).run()
    };
    pool.in_waves(&shares, work, |groups| {
        out.extend(groups);
        Ok(())
    })?;
    Ok(out)
}

/// A thread's share of the prompts while it is being sampled.
struct Sampling<'a, R> {
    model: &'a dyn VisionLanguageModel,
    info: &'a ModelInfo,
    settings: &'a RolloutSettings,
    prompts: &'a [&'a Sequence],
    rng: R,
    /// Prompts that have been prefilled.
    started: usize,
    generation: Option<Generation<'a>>,
    /// Samples of the prefilled prompts, in order.
    samples: Vec<Sample>,
    /// The sample in each row of the batch.
    batch: Vec<usize>,
}

/// What a prompt's samples share.
struct PrefilledPrompt {
    /// Its tokens.
    len: usize,
    /// Positions of its image tokens.
    image_positions: Vec<usize>,
    prototype: Option<Vec<f64>>,
}

/// A response that is being sampled.
struct Sample {
    prompt: Rc<PrefilledPrompt>,
    sampler: Sampler,
    /// Attention of the newest position, which predicts the next token.
    attention: Option<AttentionShares>,
    done: bool,
    rollout: Rollout,
}

impl<'a, R: Fn(usize, usize) -> ChaCha8Rng> Sampling<'a, R> {
    fn new(
        model: &'a dyn VisionLanguageModel,
        prompts: &'a [&'a Sequence],
        settings: &'a RolloutSettings,
        rng: R,
    ) -> Self {
        let (info, samples) = (model.info(), Vec::with_capacity(prompts.len() * settings.group_size));
        Self { model, info, settings, prompts, rng, started: 0, generation: None, samples, batch: Vec::new() }
    }

    fn run(mut self) -> Result<Vec<Vec<Rollout>>, TrainError> {
        self.admit()?;
        while let Some(mut generation) = self.generation.take() {
            let tokens = self.draw(&generation)?;
            // The similarity of the last token is that of its state, which takes one more pass.
            if self.settings.similarity || !self.batch.iter().all(|sample| self.samples[*sample].done) {
                let mut capture = self.capture(0);
                generation.advance(&tokens, &mut capture)?;
                self.record(&generation, &mut capture)?;
            }
            self.generation = self.remove_finished(generation)?;
            self.admit()?;
        }
        let mut rollouts = self.samples.into_iter().map(|sample| sample.rollout);
        let groups = std::iter::from_fn(|| {
            let group: Vec<Rollout> = rollouts.by_ref().take(self.settings.group_size).collect();
            (!group.is_empty()).then_some(group)
        });
        Ok(groups.collect())
    }

    fn capture(&self, from: usize) -> Capture {
        if self.settings.attention {
            Capture::attention(self.info.attention_layers.clone(), from)
        } else {
            Capture::none()
        }
    }

    /// Lets samples of the next prompts join the batch, once there is room for enough of them.
    fn admit(&mut self) -> Result<(), TrainError> {
        let room = self.settings.rows.saturating_sub(self.batch.len());
        let empty = self.batch.is_empty();
        if !empty && (room as f64) < MOVED_SHARE * self.settings.rows as f64 {
            return Ok(());
        }
        let groups = (room / self.settings.group_size).max(usize::from(empty)).min(self.prompts.len() - self.started);
        if groups == 0 {
            return Ok(());
        }
        let joining = self.prefill(groups)?;
        match &mut self.generation {
            Some(generation) => generation.join(&[joining], 1)?,
            None => self.generation = Some(joining),
        }
        Ok(())
    }

    /// Prefills the next `groups` prompts and begins a group of samples after each.
    fn prefill(&mut self, groups: usize) -> Result<Generation<'a>, TrainError> {
        let first = self.started;
        let prompts = &self.prompts[first..first + groups];
        let longest = prompts.iter().map(|p| p.ids.len()).max().unwrap_or(0);
        let mut capture = self.capture(longest.saturating_sub(1));
        let (mut generation, prefill) =
            Generation::prefill(self.model, prompts, self.settings.max_new_tokens + 1, &mut capture)?;
        let attention = newest_attention(&mut capture)?;
        let mut expand = Vec::with_capacity(groups * self.settings.group_size);
        for (index, prompt) in prefilled_prompts(&prefill, self.settings.similarity)?.into_iter().enumerate() {
            let prompt = Rc::new(prompt);
            let attention = attention.get(index).map(|weights| prompt.shares(weights, prefill.batch.padding[index]));
            for sample in 0..self.settings.group_size {
                let rng = (self.rng)(first + index, sample);
                let sampler = Sampler::new(self.info, self.settings.temperature, self.settings.top_p, rng);
                self.batch.push(self.samples.len());
                let prompt = Rc::clone(&prompt);
                self.samples.push(Sample { prompt, sampler, attention, done: false, rollout: Rollout::default() });
                expand.push(index);
            }
        }
        if self.settings.group_size > 1 {
            generation.select_rows(&expand)?;
        }
        self.started += groups;
        Ok(generation)
    }

    /// Draws one token for each row of the batch; finished samples get padding.
    fn draw(&mut self, generation: &Generation<'_>) -> Result<Vec<u32>, TrainError> {
        let logits = generation.logits()?;
        let mut tokens = Vec::with_capacity(self.batch.len());
        for (index, logits) in self.batch.iter().zip(&logits) {
            let sample = &mut self.samples[*index];
            tokens.push(if sample.done {
                self.info.pad_token_id
            } else {
                sample.draw(logits, self.settings.max_new_tokens, self.info)
            });
        }
        Ok(tokens)
    }

    /// Records the similarity of the newest states and their attention.
    fn record(&mut self, generation: &Generation<'_>, capture: &mut Capture) -> Result<(), TrainError> {
        let attention = newest_attention(capture)?;
        // [batch, hidden]
        let states = if self.settings.similarity { generation.states().to_vec2::<f32>()? } else { Vec::new() };
        let padding = generation.cache().padding();
        for (row, index) in self.batch.iter().enumerate() {
            let sample = &mut self.samples[*index];
            let missing = sample.rollout.similarity.len() < sample.rollout.tokens.len();
            if let (true, Some(state), Some(prototype)) = (missing, states.get(row), &sample.prompt.prototype) {
                sample.rollout.similarity.push(focus::cosine(state, prototype));
            }
            if !sample.done {
                sample.attention = attention.get(row).map(|weights| sample.prompt.shares(weights, padding[row]));
            }
        }
        Ok(())
    }

    /// Removes finished samples from the batch, once they are enough of it.
    fn remove_finished(&mut self, mut generation: Generation<'a>) -> Result<Option<Generation<'a>>, TrainError> {
        let keep: Vec<usize> = (0..self.batch.len()).filter(|row| !self.samples[self.batch[*row]].done).collect();
        let finished = (self.batch.len() - keep.len()) as f64;
        if finished > 0.0 && finished >= MOVED_SHARE * self.batch.len() as f64 {
            self.batch = keep.iter().map(|row| self.batch[*row]).collect();
            if keep.is_empty() {
                return Ok(None);
            }
            generation.select_rows(&keep)?;
        }
        Ok(Some(generation))
    }
}

impl PrefilledPrompt {
    /// Shares of one position's attention; the first `padding` weights belong to padding.
    fn shares(&self, weights: &[f64], padding: usize) -> AttentionShares {
        let weights = &weights[padding..];
        let image: f64 = self.image_positions.iter().map(|position| weights[*position]).sum();
        let prompt: f64 = weights[..self.len].iter().sum();
        AttentionShares { image, query: prompt - image, generated: weights[self.len..].iter().sum() }
    }
}

impl Sample {
    fn draw(&mut self, logits: &[f32], limit: usize, info: &ModelInfo) -> u32 {
        let (token, logprob) = self.sampler.sample_scored(logits);
        self.rollout.tokens.push(token);
        self.rollout.logprobs.push(logprob);
        self.rollout.attention.extend(self.attention.take());
        let ended = info.eos_token_ids.contains(&token);
        let last = self.rollout.tokens.len() >= limit;
        self.rollout.cut_off = last && !ended;
        self.done = ended || last;
        token
    }
}

/// Attention of each row's newest query to every key, mean over layers and heads; empty if it was not captured.
fn newest_attention(capture: &mut Capture) -> Result<Vec<Vec<f64>>, TrainError> {
    let layers = std::mem::take(&mut capture.attention);
    let mut sum: Vec<Vec<f64>> = Vec::new();
    for layer in &layers {
        // [batch, heads, queries, keys] -> [batch, keys] of the newest query
        let queries = layer.dim(2)?;
        let newest = layer.narrow(2, queries - 1, 1)?.mean(1)?.squeeze(1)?.to_vec2::<f32>()?;
        sum.resize(newest.len(), Vec::new());
        for (total, row) in sum.iter_mut().zip(&newest) {
            total.resize(row.len(), 0.0);
            total.iter_mut().zip(row).for_each(|(t, v)| *t += f64::from(*v) / layers.len() as f64);
        }
    }
    Ok(sum)
}

/// What samples need of each prompt; visual prototypes where they are asked for and there is an image.
fn prefilled_prompts(prefill: &Prefill, prototypes: bool) -> Result<Vec<PrefilledPrompt>, TrainError> {
    let batch = &prefill.batch;
    let mut image_columns = vec![Vec::new(); batch.rows];
    for slot in &batch.image_slots {
        let slot = *slot as usize;
        image_columns[slot / batch.seq_len].push(slot % batch.seq_len);
    }
    let mut out = Vec::with_capacity(batch.rows);
    for (row, columns) in image_columns.into_iter().enumerate() {
        let padding = batch.padding[row];
        let mut prototype = None;
        if prototypes {
            let states = prefill.hidden.get(row)?.to_vec2::<f32>()?; // [seq_len, hidden]
            prototype = focus::visual_prototype(columns.iter().map(|c| states[*c].as_slice()));
        }
        let image_positions = columns.into_iter().map(|column| column - padding).collect();
        out.push(PrefilledPrompt { len: batch.seq_len - padding, image_positions, prototype });
    }
    Ok(out)
}
