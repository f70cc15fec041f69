//! Sampling responses: one prefill per prompt, a group of rows per prefill, finished rows leave the batch.

use rand_chacha::ChaCha8Rng;

use crate::config::rollout::DECODED_ROWS;
use crate::model::generate::{Generation, Prefill};
use crate::model::sampler::Sampler;
use crate::model::{Capture, ModelInfo, Sequence, VisionLanguageModel, focus};

use super::error::TrainError;
use super::parallel::Pool;

/// Finished rows are taken out of the batch once they are this share of it: moving the cache has a price too.
const COMPACT_SHARE: f64 = 0.25;

/// How to sample.
#[derive(Debug, Clone, Copy)]
pub struct RolloutSettings {
    /// Responses per prompt.
    pub group_size: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus share.
    pub top_p: f64,
    /// Longest response.
    pub max_new_tokens: usize,
    /// Record where each token's prediction attended to.
    pub attention: bool,
    /// Record the similarity of each reading state with the visual prototype.
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
    /// Per token, the cosine of the state that reads it, if recorded and the prompt has an image.
    pub similarity: Vec<f64>,
}

/// Responses to every prompt, `group_size` each, in order. `rng(prompt, sample)` gives each response a stream of its own.
pub fn rollout(
    pool: &Pool,
    model: &dyn VisionLanguageModel,
    prompts: &[&Sequence],
    settings: &RolloutSettings,
    rng: impl Fn(usize, usize) -> ChaCha8Rng + Sync,
) -> Result<Vec<Vec<Rollout>>, TrainError> {
    let per_thread = prompts.len().div_ceil(pool.threads());
    let chunk = (DECODED_ROWS / settings.group_size).clamp(1, per_thread.max(1));
    let indexed: Vec<(usize, &[&Sequence])> =
        prompts.chunks(chunk).enumerate().map(|(i, part)| (i * chunk, part)).collect();
    let mut out = Vec::with_capacity(prompts.len());
    let work = |(first, part): &(usize, &[&Sequence])| {
        Sampling::start(model, part, settings, |prompt, sample| rng(first + prompt, sample))?.run()
    };
    pool.in_waves(&indexed, work, |groups| {
        out.extend(groups);
        Ok(())
    })?;
    Ok(out)
}

/// Rows of one batch while they are being sampled.
struct Sampling<'a> {
    settings: &'a RolloutSettings,
    info: &'a ModelInfo,
    generation: Generation<'a>,
    /// Prompt columns of the cache.
    prompt_columns: usize,
    rows: Vec<Row>,
    /// Which row stands in each line of the batch.
    lines: Vec<usize>,
    capture: Capture,
}

struct Row {
    sampler: Sampler,
    /// Cache columns that hold the row's image tokens.
    image_columns: Vec<usize>,
    padding: usize,
    prototype: Option<Vec<f64>>,
    done: bool,
    rollout: Rollout,
}

impl<'a> Sampling<'a> {
    fn start(
        model: &'a dyn VisionLanguageModel,
        prompts: &[&Sequence],
        settings: &'a RolloutSettings,
        rng: impl Fn(usize, usize) -> ChaCha8Rng,
    ) -> Result<Self, TrainError> {
        let info = model.info();
        let columns = prompts.iter().map(|p| p.ids.len()).max().unwrap_or(0);
        let mut capture = capture_from(settings, info, columns.saturating_sub(1));
        let (mut generation, prefill) = Generation::prefill(model, prompts, settings.max_new_tokens + 1, &mut capture)?;
        let shown = image_columns(&prefill);
        let prototypes = if settings.similarity { prototypes(&prefill, &shown)? } else { vec![None; prompts.len()] };
        let mut rows = Vec::with_capacity(prompts.len() * settings.group_size);
        for prompt in 0..prompts.len() {
            for sample in 0..settings.group_size {
                rows.push(Row {
                    sampler: Sampler::new(info, settings.temperature, settings.top_p, rng(prompt, sample)),
                    image_columns: shown[prompt].clone(),
                    padding: prefill.batch.padding[prompt],
                    prototype: prototypes[prompt].clone(),
                    done: false,
                    rollout: Rollout::default(),
                });
            }
        }
        let expand: Vec<usize> = (0..rows.len()).map(|row| row / settings.group_size).collect();
        if settings.group_size > 1 {
            generation.select_rows(&expand)?;
            capture.select_rows(&expand)?;
        }
        let lines = (0..rows.len()).collect();
        Ok(Self { settings, info, generation, prompt_columns: columns, rows, lines, capture })
    }

    fn run(mut self) -> Result<Vec<Vec<Rollout>>, TrainError> {
        for step in 0..self.settings.max_new_tokens {
            let tokens = self.sample(step + 1 == self.settings.max_new_tokens)?;
            let finished = self.lines.iter().all(|row| self.rows[*row].done);
            if finished && !self.settings.similarity {
                break;
            }
            self.capture = capture_from(self.settings, self.info, 0);
            self.generation.advance(&tokens, &mut self.capture)?;
            self.record_similarity()?;
            if finished {
                break;
            }
            self.compact()?;
        }
        let mut rollouts = self.rows.into_iter().map(|row| row.rollout);
        let groups = std::iter::from_fn(|| {
            let group: Vec<Rollout> = rollouts.by_ref().take(self.settings.group_size).collect();
            (!group.is_empty()).then_some(group)
        });
        Ok(groups.collect())
    }

    /// Draws one token per line; lines of finished rows get a filler.
    fn sample(&mut self, last: bool) -> Result<Vec<u32>, TrainError> {
        let logits = self.generation.logits()?;
        let shares = self.shares()?;
        let mut tokens = Vec::with_capacity(self.lines.len());
        for (line, index) in self.lines.iter().enumerate() {
            let row = &mut self.rows[*index];
            if row.done {
                tokens.push(self.info.pad_token_id);
                continue;
            }
            let (token, logprob) = row.sampler.sample_scored(&logits[line]);
            row.rollout.tokens.push(token);
            row.rollout.logprobs.push(logprob);
            if let Some(shares) = shares.get(line) {
                row.rollout.attention.push(*shares);
            }
            let ended = self.info.eos_token_ids.contains(&token);
            row.rollout.cut_off = last && !ended;
            row.done = ended || last;
            tokens.push(token);
        }
        Ok(tokens)
    }

    /// Where the newest query of each line attended to, mean over layers and heads.
    fn shares(&mut self) -> Result<Vec<AttentionShares>, TrainError> {
        let layers = std::mem::take(&mut self.capture.attention);
        let mut sum: Vec<Vec<f64>> = Vec::new();
        for layer in &layers {
            let queries = layer.dim(2)?;
            let newest = layer.narrow(2, queries - 1, 1)?.mean(1)?.squeeze(1)?.to_vec2::<f32>()?;
            sum.resize(newest.len(), Vec::new());
            for (total, line) in sum.iter_mut().zip(&newest) {
                total.resize(line.len(), 0.0);
                total.iter_mut().zip(line).for_each(|(t, v)| *t += f64::from(*v) / layers.len() as f64);
            }
        }
        let share = |(line, weights): (usize, &Vec<f64>)| {
            let row = &self.rows[self.lines[line]];
            let image: f64 = row.image_columns.iter().map(|c| weights[*c]).sum();
            let prompt: f64 = weights[row.padding..self.prompt_columns].iter().sum();
            let generated: f64 = weights[self.prompt_columns..].iter().sum();
            AttentionShares { image, query: prompt - image, generated }
        };
        Ok(sum.iter().enumerate().map(share).collect())
    }

    fn record_similarity(&mut self) -> Result<(), TrainError> {
        if !self.settings.similarity {
            return Ok(());
        }
        let states = self.generation.states().to_vec2::<f32>()?;
        for (state, index) in states.iter().zip(&self.lines) {
            let row = &mut self.rows[*index];
            let unread = row.rollout.similarity.len() < row.rollout.tokens.len();
            if let (true, Some(prototype)) = (unread, &row.prototype) {
                row.rollout.similarity.push(focus::cosine(state, prototype));
            }
        }
        Ok(())
    }

    /// Takes finished rows out of the batch once they are many.
    fn compact(&mut self) -> Result<(), TrainError> {
        let keep: Vec<usize> = (0..self.lines.len()).filter(|line| !self.rows[self.lines[*line]].done).collect();
        let finished = (self.lines.len() - keep.len()) as f64;
        if finished < COMPACT_SHARE * self.lines.len() as f64 {
            return Ok(());
        }
        self.generation.select_rows(&keep)?;
        self.capture.select_rows(&keep)?;
        self.lines = keep.into_iter().map(|line| self.lines[line]).collect();
        Ok(())
    }
}

fn capture_from(settings: &RolloutSettings, info: &ModelInfo, from: usize) -> Capture {
    if settings.attention { Capture::attention((0..info.layers).collect(), from) } else { Capture::none() }
}

/// Columns of each row's image tokens.
fn image_columns(prefill: &Prefill) -> Vec<Vec<usize>> {
    let mut out = vec![Vec::new(); prefill.batch.rows];
    for slot in &prefill.batch.image_slots {
        let slot = *slot as usize;
        out[slot / prefill.batch.columns].push(slot % prefill.batch.columns);
    }
    out
}

/// The visual prototype of each row, none for text-only rows.
fn prototypes(prefill: &Prefill, image_columns: &[Vec<usize>]) -> Result<Vec<Option<Vec<f64>>>, TrainError> {
    let mut out = Vec::with_capacity(image_columns.len());
    for (row, columns) in image_columns.iter().enumerate() {
        let states = prefill.hidden.get(row)?.to_vec2::<f32>()?;
        out.push(focus::visual_prototype(columns.iter().map(|c| states[*c].as_slice())));
    }
    Ok(out)
}
