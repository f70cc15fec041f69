//! The decode loop: rows of one or several requests as one batch. Each row has its own random stream, so sharing a batch never
//! changes its draws; rows leave the batch when they are done.

use std::collections::VecDeque;

use super::job::{GenerateJob, RawEvent, RawToken};
use crate::clock::Stopwatch;
use crate::model::generate::{Generation, Prefill};
use crate::model::sampler::{self, Sampler};
use crate::model::{Capture, ModelInfo, Sequence};
use crate::serving::ServingError;
use crate::serving::answer::{FinishReason, Timings};
use crate::serving::look::{AttentionFrame, ImageStates, Look, PromptColumns, focus_score};
use crate::serving::model::ServedModel;
use crate::serving::text::ResponseText;

/// Which choices of which job are decoded together: `(job, choice)`, a job's choices side by side.
pub type RowPlan = (usize, usize);

/// How far a job is: shared by the batches that work on it.
pub struct Progress {
    left: usize,
    generated: usize,
    queue_seconds: f64,
    prefill_seconds: f64,
    decoding: Stopwatch,
}

impl Progress {
    /// A job that leaves the queue now.
    pub fn start(job: &GenerateJob) -> Self {
        Self {
            left: job.sampling.choices,
            generated: 0,
            queue_seconds: job.waiting.seconds(),
            prefill_seconds: 0.0,
            decoding: Stopwatch::start(),
        }
    }

    fn timings(&self, job: &GenerateJob) -> Timings {
        let decode_seconds = (self.decoding.seconds() - self.prefill_seconds).max(f64::MIN_POSITIVE);
        Timings {
            queue_seconds: self.queue_seconds,
            prefill_seconds: self.prefill_seconds,
            decode_seconds,
            total_seconds: job.waiting.seconds(),
            tokens_per_second: self.generated as f64 / decode_seconds,
        }
    }
}

/// What a prompt's rows share.
struct Prompt {
    columns: PromptColumns,
    images: ImageStates,
}

/// One response in the making.
struct Row<'a> {
    job: usize,
    choice: usize,
    prompt: usize,
    sampler: Sampler,
    text: ResponseText<'a>,
    /// Where the newest position looks: it predicts the next token.
    look: Look,
    /// The token that was drawn but not read yet.
    drawn: Option<RawToken>,
    /// Tokens that were read, and whose text is not settled.
    pending: VecDeque<RawToken>,
    generated: usize,
    sent_tokens: usize,
    sent_bytes: usize,
    finish: Option<FinishReason>,
    gone: bool,
}

/// A batch in the making.
pub struct Decode<'a> {
    served: &'a ServedModel,
    jobs: &'a [GenerateJob],
    progress: &'a mut [Progress],
    generation: Generation<'a>,
    prompts: Vec<Prompt>,
    rows: Vec<Row<'a>>,
    layers: Vec<usize>,
}

impl<'a> Decode<'a> {
    /// Reads the prompts: one row per job, then one per choice.
    ///
    /// # Errors
    /// A model that fails.
    pub fn prefill(
        served: &'a ServedModel,
        jobs: &'a [GenerateJob],
        progress: &'a mut [Progress],
        plan: &[RowPlan],
    ) -> Result<Self, ServingError> {
        let reading = Stopwatch::start();
        let mut members: Vec<usize> = plan.iter().map(|(job, _)| *job).collect();
        members.dedup();
        let sequences: Vec<Sequence> = members.iter().map(|job| sequence(&jobs[*job])).collect();
        let columns = sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0);
        let new_tokens = members.iter().map(|job| jobs[*job].sampling.max_new_tokens).max().unwrap_or(0);
        let mut layers: Vec<usize> = members.iter().flat_map(|job| jobs[*job].plan.layers.iter().copied()).collect();
        layers.sort_unstable();
        layers.dedup();
        let mut capture = Capture::attention(layers.clone(), columns.saturating_sub(1));
        let references: Vec<&Sequence> = sequences.iter().collect();
        let (mut generation, prefill) =
            Generation::prefill(served.model.as_ref(), &references, new_tokens, &mut capture)?;
        let frame = AttentionFrame::take(&mut capture)?;
        let prompts = read_prompts(&prefill, jobs, &members)?;
        let mut rows = Vec::with_capacity(plan.len());
        let mut sources = Vec::with_capacity(plan.len());
        for (job, choice) in plan {
            let prompt = members.iter().position(|m| m == job).unwrap_or(0);
            let look =
                frame.look((prompt, 0), prefill.batch.padding[prompt], &prompts[prompt].columns, &jobs[*job].plan);
            rows.push(Row::new(served, jobs, (*job, *choice), prompt, look));
            sources.push(prompt);
        }
        if plan.len() > members.len() {
            generation.select_rows(&sources)?;
        }
        for job in &members {
            progress[*job].prefill_seconds += reading.seconds();
        }
        Ok(Self { served, jobs, progress, generation, prompts, rows, layers })
    }

    /// Decodes until every row is done.
    ///
    /// # Errors
    /// A model or tokenizer that fails.
    pub fn run(mut self) -> Result<(), ServingError> {
        while !self.rows.is_empty() {
            self.draw()?;
            self.read()?;
            self.leave()?;
        }
        Ok(())
    }

    /// Draws every row's next token.
    fn draw(&mut self) -> Result<(), ServingError> {
        let logits = self.generation.logits()?;
        let info = self.served.model.info();
        for (row, logits) in self.rows.iter_mut().zip(&logits) {
            row.draw(logits, &self.jobs[row.job], info)?;
        }
        Ok(())
    }

    /// Feeds the drawn tokens: their focus is that of the states that read them.
    fn read(&mut self) -> Result<(), ServingError> {
        let needless = |row: &Row<'_>| row.finish.is_some() && !self.prompts[row.prompt].images.any();
        if self.rows.iter().all(needless) {
            self.rows.iter_mut().for_each(|row| row.take_read(None, &[]));
            return Ok(());
        }
        let tokens: Vec<u32> = self.rows.iter().map(|row| row.drawn.as_ref().map_or(0, |t| t.id)).collect();
        let mut capture = Capture::attention(self.layers.clone(), 0);
        self.generation.advance(&tokens, &mut capture)?;
        let frame = AttentionFrame::take(&mut capture)?;
        let states: Vec<Vec<f32>> = self.generation.states().to_vec2()?;
        for (index, (row, state)) in self.rows.iter_mut().zip(&states).enumerate() {
            let prompt = &self.prompts[row.prompt];
            row.take_read(Some(&prompt.images), state);
            if row.finish.is_none() {
                let padding = self.generation.cache().padding()[index];
                row.look = frame.look((index, 0), padding, &prompt.columns, &self.jobs[row.job].plan);
            }
        }
        Ok(())
    }

    /// Tells what is settled, and lets done and cancelled rows go.
    fn leave(&mut self) -> Result<(), ServingError> {
        for row in &mut self.rows {
            let job = &self.jobs[row.job];
            row.tell(job);
            row.gone = row.finish.is_some() || job.cancelled.is_raised() || job.events.is_closed();
            if let (true, Some(reason)) = (row.gone, row.finish) {
                let progress = &mut self.progress[row.job];
                progress.left -= 1;
                progress.generated += row.generated;
                let (choice, generated) = (row.choice, row.generated);
                // A closed channel means that nobody listens any more, which is no error.
                let _ = job.events.send(RawEvent::Finished { choice, reason, generated });
                if progress.left == 0 {
                    let _ = job.events.send(RawEvent::Done(progress.timings(job)));
                }
            }
        }
        let staying: Vec<usize> = (0..self.rows.len()).filter(|i| !self.rows[*i].gone).collect();
        if staying.len() < self.rows.len() {
            self.rows.retain(|row| !row.gone);
            if !staying.is_empty() {
                self.generation.select_rows(&staying)?;
            }
        }
        Ok(())
    }
}

impl<'a> Row<'a> {
    fn new(
        served: &'a ServedModel,
        jobs: &'a [GenerateJob],
        (job, choice): RowPlan,
        prompt: usize,
        look: Look,
    ) -> Self {
        let sampling = &jobs[job].sampling;
        let rng = sampler::stream(&[sampling.seed, choice as u64]);
        Self {
            job,
            choice,
            prompt,
            sampler: Sampler::new(served.model.info(), sampling.temperature, sampling.top_p, rng),
            text: ResponseText::new(served.processor.decoder(true), &sampling.stop),
            look,
            drawn: None,
            pending: VecDeque::new(),
            generated: 0,
            sent_tokens: 0,
            sent_bytes: 0,
            finish: None,
            gone: false,
        }
    }

    fn draw(&mut self, logits: &[f32], job: &GenerateJob, info: &ModelInfo) -> Result<(), ServingError> {
        let id = self.sampler.sample(logits);
        let look = std::mem::take(&mut self.look);
        self.drawn = Some(RawToken {
            id,
            logprob: sampler::raw_logprob(logits, id),
            top: likeliest(logits, job.sampling.top_logprobs),
            focus: None,
            shares: look.shares,
            maps: look.maps,
        });
        self.generated += 1;
        let stopped = self.text.push(id)?;
        if stopped || info.eos_token_ids.contains(&id) {
            self.finish = Some(FinishReason::Stop);
        } else if self.generated >= job.sampling.max_new_tokens {
            self.finish = Some(FinishReason::Length);
        }
        if self.finish.is_some() {
            self.text.finish()?;
        }
        Ok(())
    }

    /// The drawn token has been read by `state` (or need not be read).
    fn take_read(&mut self, images: Option<&ImageStates>, state: &[f32]) {
        if let Some(mut token) = self.drawn.take() {
            if let Some(images) = images {
                token.focus = images.similarity(state).map(focus_score);
                let maps = images.maps(state);
                if !maps.is_empty() {
                    token.maps = maps;
                }
            }
            self.pending.push_back(token);
        }
    }

    /// Sends the tokens whose text is settled.
    fn tell(&mut self, job: &GenerateJob) {
        let (settled, kept) =
            if self.finish.is_some() { (usize::MAX, self.text.kept()) } else { (self.text.settled(), usize::MAX) };
        while self.sent_tokens < kept && !self.pending.is_empty() && self.text.end_of(self.sent_tokens) <= settled {
            let end = self.text.end_of(self.sent_tokens);
            let text = self.text.as_str()[self.sent_bytes..end].to_owned();
            if let Some(token) = self.pending.pop_front() {
                let _ = job.events.send(RawEvent::Token { choice: self.choice, text, token: Box::new(token) });
            }
            self.sent_tokens += 1;
            self.sent_bytes = end;
        }
    }
}

fn sequence(job: &GenerateJob) -> Sequence {
    let rendered = &job.prompt.rendered;
    Sequence { ids: rendered.ids.clone(), images: rendered.images.clone() }
}

fn read_prompts(prefill: &Prefill, jobs: &[GenerateJob], members: &[usize]) -> Result<Vec<Prompt>, ServingError> {
    let mut prompts = Vec::with_capacity(members.len());
    for (row, job) in members.iter().enumerate() {
        let columns = PromptColumns::of(&jobs[*job].prompt);
        let hidden = prefill.hidden.get(row)?;
        let images = ImageStates::read(&hidden, prefill.batch.padding[row], &columns, &jobs[*job].plan)?;
        prompts.push(Prompt { columns, images });
    }
    Ok(prompts)
}

/// The `count` likeliest tokens with their log-probs, the likeliest first.
fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f64)> {
    if count == 0 {
        return Vec::new();
    }
    let mut ranked: Vec<(u32, f32)> = logits.iter().enumerate().map(|(id, l)| (id as u32, *l)).collect();
    let by_rank = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < ranked.len() {
        ranked.select_nth_unstable_by(count - 1, by_rank);
        ranked.truncate(count);
    }
    ranked.sort_unstable_by(by_rank);
    let Some((first, highest)) = ranked.first().copied() else { return Vec::new() };
    let best = sampler::raw_logprob(logits, first);
    ranked.into_iter().map(|(id, logit)| (id, best + f64::from(logit) - f64::from(highest))).collect()
}
