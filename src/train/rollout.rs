//! Sampling responses: one prefill per prompt, then a group of samples that continue it. Finished samples leave the
//! batch and those of the next prompts join it (continuous batching).

use rand_chacha::ChaCha8Rng;

use crate::model::footprint::{PassShape, SamplingRoom, SamplingShape, VALUE};
use crate::model::generate::{Generation, Observed};
use crate::model::sampler::Sampler;
use crate::model::{Capture, ModelInfo, Sequence, VisionLanguageModel};

use super::error::TrainError;
use super::parallel::Pool;
use super::reporter::SamplingProgress;
use super::sink::{Control, ControlSignal};
use super::source::Prompt;

/// Finished samples leave the batch, and others join it, once they are this share of it: each change copies the KV
/// cache.
const MOVED_SHARE: f64 = 0.25;
/// Tokens times parameters that one pass over prompts takes on a CPU, about 10 to 20 s: between two passes a run can
/// stop, and products of this many tokens are no faster.
const PASS_WORK: usize = 1 << 40;

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

impl RolloutSettings {
    /// The same with at most as many rows as fit into `room` on each of `threads`; at least one group.
    #[must_use]
    pub(super) fn within(self, room: Option<&SamplingRoom>, prompts: &[Prompt], threads: usize) -> Self {
        let Some(room) = room else { return self };
        let sequences = || prompts.iter().map(|prompt| &prompt.sequence);
        let patches = |sequence: &Sequence| sequence.images.iter().map(|image| image.grid.patches()).sum::<usize>();
        // A prompt as long as the longest, with the images of the one that has the most.
        let seq_len = sequences().map(|sequence| sequence.ids.len()).max().unwrap_or(0);
        let images = sequences().max_by_key(|sequence| patches(sequence)).map(|sequence| sequence.images.as_slice());
        let images = images.unwrap_or_default().iter().map(|image| image.grid).collect();
        let shape = SamplingShape {
            prompt: PassShape { rows: 1, seq_len, images, image_slots: 0 },
            group: self.group_size,
            response: self.max_new_tokens,
            prompts: prompts.len().div_ceil(threads).max(1),
        };
        let pixels: usize = sequences().flat_map(|s| &s.images).map(|image| VALUE * image.values.len()).sum();
        let each = room.bytes.saturating_sub(pixels) / prompts.len().clamp(1, threads.max(1));
        let most = self.rows / self.group_size.max(1);
        let groups = room.size.prompts_within(room.arithmetic, most, &shape, each);
        Self { rows: self.rows.min(groups * self.group_size), ..self }
    }
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
    rollout_in_shares(pool, model, prompts, settings, share, rng)
}

/// The same with `share` prompts at a time on a thread.
pub(super) fn rollout_in_shares(
    pool: &Pool,
    model: &dyn VisionLanguageModel,
    prompts: &[&Sequence],
    settings: &RolloutSettings,
    share: usize,
    rng: impl Fn(usize, usize) -> ChaCha8Rng + Sync,
) -> Result<Vec<Vec<Rollout>>, TrainError> {
    let shares: Vec<(usize, &[&Sequence])> =
        prompts.chunks(share).enumerate().map(|(i, part)| (i * share, part)).collect();
    let mut out = Vec::with_capacity(prompts.len());
    let progress = SamplingProgress::of(pool.reporter(), prompts.len(), settings.group_size);
    let work = |(first, prompts): &(usize, &[&Sequence])| {
        let rng = |prompt, sample| rng(first + prompt, sample);
        Sampling::new(model, prompts, settings, &progress, rng).run(pool.signal())
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
    progress: &'a SamplingProgress<'a>,
    rng: R,
    /// Prompts that have been prefilled.
    started: usize,
    generation: Option<Generation<'a>>,
    /// Samples of the prefilled prompts, in order.
    samples: Vec<Sample>,
    /// The sample in each row of the batch.
    batch: Vec<usize>,
}

/// A response that is being sampled.
struct Sample {
    /// Does its prompt have an image?
    has_image: bool,
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
        progress: &'a SamplingProgress<'a>,
        rng: R,
    ) -> Self {
        let (info, samples) = (model.info(), Vec::with_capacity(prompts.len() * settings.group_size));
        let batch = Vec::new();
        Self { model, info, settings, prompts, progress, rng, started: 0, generation: None, samples, batch }
    }

    /// Samples until every response has ended, or the run is to stop: what was sampled until then is lost.
    fn run(mut self, signal: &ControlSignal) -> Result<Vec<Vec<Rollout>>, TrainError> {
        self.admit(signal)?;
        while let Some(mut generation) = self.generation.take() {
            unless_stopped(signal)?;
            let tokens = self.draw(&generation)?;
            // The similarity of the last token is that of its state, which takes one more pass.
            if self.settings.similarity || !self.batch.iter().all(|sample| self.samples[*sample].done) {
                let mut capture = self.capture();
                generation.advance(&tokens, &mut capture)?;
                self.record(&generation.observe(&mut capture)?);
            }
            self.generation = self.remove_finished(generation)?;
            self.admit(signal)?;
        }
        let mut rollouts = self.samples.into_iter().map(|sample| sample.rollout);
        let groups = std::iter::from_fn(|| {
            let group: Vec<Rollout> = rollouts.by_ref().take(self.settings.group_size).collect();
            (!group.is_empty()).then_some(group)
        });
        Ok(groups.collect())
    }

    fn capture(&self) -> Capture {
        if self.settings.attention { Capture::shares_of(self.info.attention_layers.clone()) } else { Capture::none() }
    }

    /// Lets samples of the next prompts join the batch, once there is room for enough of them.
    fn admit(&mut self, signal: &ControlSignal) -> Result<(), TrainError> {
        let room = self.settings.rows.saturating_sub(self.batch.len());
        let empty = self.batch.is_empty();
        if !empty && (room as f64) < MOVED_SHARE * self.settings.rows as f64 {
            return Ok(());
        }
        let groups = (room / self.settings.group_size).max(usize::from(empty)).min(self.prompts.len() - self.started);
        let (end, mut joining) = (self.started + groups, Vec::new());
        while self.started < end {
            unless_stopped(signal)?;
            joining.push(self.prefill(self.in_one_pass(end))?);
        }
        let mut joining = joining.into_iter();
        if self.generation.is_none() {
            self.generation = joining.next();
        }
        if let (Some(generation), others @ [_, ..]) = (&mut self.generation, joining.as_slice()) {
            generation.join(others, 1)?;
        }
        Ok(())
    }

    /// How many of the prompts from the next one to `end` are prefilled in one pass.
    fn in_one_pass(&self, end: usize) -> usize {
        let waiting = &self.prompts[self.started..end];
        if !self.model.device().is_cpu() {
            return waiting.len();
        }
        let longest = waiting.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
        let tokens = PASS_WORK / self.info.parameters.max(1);
        (tokens / longest.max(1)).clamp(1, waiting.len())
    }

    /// Prefills the next `groups` prompts and begins a group of samples after each.
    fn prefill(&mut self, groups: usize) -> Result<Generation<'a>, TrainError> {
        let first = self.started;
        let prompts = &self.prompts[first..first + groups];
        let mut capture = self.capture();
        let (mut generation, prefill) =
            Generation::prefill(self.model, prompts, self.settings.max_new_tokens + 1, &mut capture)?;
        let observed = generation.observe(&mut capture)?;
        if self.settings.similarity {
            generation.keep_prototypes(&prefill)?;
        }
        let mut expand = Vec::with_capacity(groups * self.settings.group_size);
        for (index, prompt) in prompts.iter().enumerate() {
            let (has_image, attention) = (!prompt.images.is_empty(), observed.shares.get(index).map(shares));
            for sample in 0..self.settings.group_size {
                let rng = (self.rng)(first + index, sample);
                let sampler = Sampler::new(self.info, self.settings.temperature, self.settings.top_p, rng);
                self.batch.push(self.samples.len());
                self.samples.push(Sample { has_image, sampler, attention, done: false, rollout: Rollout::default() });
                expand.push(index);
            }
        }
        if self.settings.group_size > 1 {
            generation.select_rows(&expand)?;
        }
        self.started += groups;
        self.progress.read(groups);
        Ok(generation)
    }

    /// Draws one token for each row of the batch; finished samples get padding.
    fn draw(&mut self, generation: &Generation<'_>) -> Result<Vec<u32>, TrainError> {
        let mut in_order: Vec<Option<&mut Sample>> = self.samples.iter_mut().map(Some).collect();
        let mut batch: Vec<&mut Sample> = self.batch.iter().filter_map(|sample| in_order[*sample].take()).collect();
        let mut samplers: Vec<Option<&mut Sampler>> =
            batch.iter_mut().map(|sample| (!sample.done).then_some(&mut sample.sampler)).collect();
        let drawn = generation.draw(&mut samplers)?;
        let mut tokens = Vec::with_capacity(batch.len());
        let (mut new, mut finished) = (0, 0);
        for (sample, drawn) in batch.into_iter().zip(drawn) {
            tokens.push(match drawn {
                Some(drawn) => sample.add(drawn, self.settings.max_new_tokens, self.info),
                None => self.info.pad_token_id,
            });
            new += usize::from(drawn.is_some());
            finished += usize::from(drawn.is_some() && sample.done);
        }
        self.progress.drawn(new, finished);
        Ok(tokens)
    }

    /// Records the similarity of the newest states and their attention.
    fn record(&mut self, observed: &Observed) {
        for (row, index) in self.batch.iter().enumerate() {
            let sample = &mut self.samples[*index];
            let missing = sample.has_image && sample.rollout.similarity.len() < sample.rollout.tokens.len();
            if let (true, Some(similarity)) = (missing, observed.similarity.get(row)) {
                sample.rollout.similarity.push(*similarity);
            }
            if !sample.done {
                sample.attention = observed.shares.get(row).map(shares);
            }
        }
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

/// An error once the run is to stop.
fn unless_stopped(signal: &ControlSignal) -> Result<(), TrainError> {
    match signal.now() {
        Control::Continue => Ok(()),
        stop => Err(TrainError::Stopped(stop)),
    }
}

impl Sample {
    /// Adds a drawn token with its log-prob.
    fn add(&mut self, (token, logprob): (u32, f64), limit: usize, info: &ModelInfo) -> u32 {
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

/// Shares on the image, the rest of the prompt and the response.
fn shares([image, query, generated]: &[f64; 3]) -> AttentionShares {
    AttentionShares { image: *image, query: *query, generated: *generated }
}
