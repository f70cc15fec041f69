//! The decode loop with continuous batching: sequences of many requests form one batch, which they join and leave
//! between steps. Each sequence has its own random stream, so sharing a batch never changes its draws.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::job::{RawEvent, RawToken};
use super::prefill::PrefilledPrompt;
use super::running::Running;
use crate::model::generate::{Choice, Generation};
use crate::model::sampler::{self, Sampler};
use crate::model::{Capture, ModelInfo, transfers};
use crate::serving::ServingError;
use crate::serving::answer::FinishReason;
use crate::serving::attention_capture::{AttentionCapture, AttentionFrame, ImageStates, PromptPositions, focus_score};
use crate::serving::model::ServedModel;
use crate::serving::text::ResponseText;

/// Spare KV-cache positions that a batch gets when rows join it.
const JOIN_ROOM: usize = 64;

/// What the responses to a prompt share.
struct Prompt {
    positions: PromptPositions,
    /// States of the image tokens, where maps of similarity are asked for.
    images: Option<ImageStates>,
}

/// One sequence that is being decoded.
struct Row<'m> {
    running: Arc<Running>,
    choice: usize,
    prompt: Arc<Prompt>,
    sampler: Sampler,
    text: ResponseText<'m>,
    /// Attention of the newest position, which predicts the next token.
    attention: AttentionCapture,
    /// The token that was sampled but not fed to the model yet.
    drawn: Option<RawToken>,
    /// Tokens that were fed to the model, but whose text is not final yet.
    pending: VecDeque<RawToken>,
    generated: usize,
    sent_tokens: usize,
    sent_bytes: usize,
    finish: Option<FinishReason>,
    gone: bool,
}

/// Choices of a job that join with the next step.
struct Incoming {
    running: Arc<Running>,
    choices: Range<usize>,
    prompt: Arc<PrefilledPrompt>,
}

/// A continuous batch.
pub struct Decode<'m> {
    served: &'m ServedModel,
    incoming: Vec<Incoming>,
    generation: Option<Generation<'m>>,
    rows: Vec<Row<'m>>,
    /// Layers whose attention some row needs, in ascending order.
    layers: Vec<usize>,
}

impl<'m> Decode<'m> {
    /// An empty batch.
    pub fn new(served: &'m ServedModel) -> Self {
        Self { served, incoming: Vec::new(), generation: None, rows: Vec::new(), layers: Vec::new() }
    }

    /// Rows that are being decoded, with those that are about to be.
    pub fn rows(&self) -> usize {
        self.rows.len() + self.incoming.iter().map(|incoming| incoming.choices.len()).sum::<usize>()
    }

    /// Bytes of keys and values of its rows.
    pub fn kv_bytes(&self) -> usize {
        self.generation.as_ref().map_or(0, |generation| generation.cache().bytes())
    }

    /// Lets some choices of a job whose prefill is done join with the next step.
    pub fn admit(&mut self, running: &Arc<Running>, choices: Range<usize>, prompt: &Arc<PrefilledPrompt>) {
        self.incoming.push(Incoming { running: Arc::clone(running), choices, prompt: Arc::clone(prompt) });
    }

    /// Joins everything that was admitted at once, because every join copies the whole cache.
    fn take_in(&mut self) -> Result<(), ServingError> {
        if self.incoming.is_empty() {
            return Ok(());
        }
        let (mut generations, mut rows) = (Vec::new(), Vec::new());
        for incoming in &self.incoming {
            let plan = &incoming.running.job.plan;
            let prompt = &incoming.prompt;
            let shared = Arc::new(Prompt { positions: prompt.positions().clone(), images: prompt.images(plan)? });
            generations.push(prompt.generation(self.served, incoming.choices.len())?);
            for choice in incoming.choices.clone() {
                rows.push(Row::new(self.served, &incoming.running, choice, &shared, prompt.capture(plan)));
            }
        }
        if self.generation.is_none() {
            self.generation = Some(generations.remove(0));
        }
        if let (Some(generation), false) = (&mut self.generation, generations.is_empty()) {
            generation.join(&generations, JOIN_ROOM)?;
        }
        self.rows.append(&mut rows);
        self.incoming.clear();
        self.choose_layers();
        Ok(())
    }

    fn choose_layers(&mut self) {
        self.layers = self.rows.iter().flat_map(|row| row.running.job.plan.layers.iter().copied()).collect();
        self.layers.sort_unstable();
        self.layers.dedup();
    }

    /// One token for every row.
    ///
    /// # Errors
    /// A model or tokenizer that fails.
    pub fn step(&mut self) -> Result<(), ServingError> {
        self.take_in()?;
        let Some(mut generation) = self.generation.take() else { return Ok(()) };
        self.draw(&generation)?;
        self.read(&mut generation)?;
        self.generation = self.leave(generation)?;
        Ok(())
    }

    /// Fails every job with rows in this batch, and drops the rows.
    pub fn fail(&mut self, error: &ServingError) {
        let incoming = self.incoming.drain(..).map(|incoming| incoming.running);
        for running in self.rows.drain(..).map(|row| row.running).chain(incoming) {
            running.fail(error);
        }
        self.generation = None;
    }

    /// Samples every row's next token.
    fn draw(&mut self, generation: &Generation<'_>) -> Result<(), ServingError> {
        let wanted = |row: &mut Row<'m>| row.running.job.sampling.top_logprobs;
        let counts: Vec<usize> = self.rows.iter_mut().map(wanted).collect();
        let mut asked: Vec<(&mut Sampler, usize)> =
            self.rows.iter_mut().map(|row| &mut row.sampler).zip(counts).collect();
        let chosen = generation.choose(&mut asked)?;
        let info = self.served.model.info();
        for (row, choice) in self.rows.iter_mut().zip(chosen) {
            row.take_drawn(choice, info)?;
        }
        Ok(())
    }

    /// Feeds the sampled tokens to the model; their focus comes from the resulting states.
    fn read(&mut self, generation: &mut Generation<'_>) -> Result<(), ServingError> {
        let needless = |row: &Row<'_>| row.finish.is_some() && row.prompt.positions.images.is_empty();
        if self.rows.iter().all(needless) {
            self.rows.iter_mut().for_each(|row| row.take_read(None, &[]));
            return Ok(());
        }
        let tokens: Vec<u32> = self.rows.iter().map(|row| row.drawn.as_ref().map_or(0, |t| t.id)).collect();
        let shares_alone = self.rows.iter().all(|row| {
            let plan = &row.running.job.plan;
            !plan.maps_of_attention() && plan.layers == self.layers
        });
        let mut capture = if shares_alone {
            Capture::shares_of(self.layers.clone())
        } else {
            Capture::attention(self.layers.clone(), 0)
        };
        generation.advance(&tokens, &mut capture)?;
        let observed = generation.observe(&mut capture)?;
        let frame = AttentionFrame::take(&mut capture)?;
        // Only maps of similarity need the states themselves: without any, none leave the device.
        let states = if self.rows.iter().any(|row| row.prompt.images.is_some()) {
            transfers::down_rows("states", generation.states())?
        } else {
            Vec::new()
        };
        for (index, row) in self.rows.iter_mut().enumerate() {
            row.take_read(observed.similarity.get(index).copied(), states.get(index).map_or(&[], Vec::as_slice));
            if row.finish.is_none() {
                let padding = generation.cache().padding()[index];
                row.attention = match observed.shares.get(index) {
                    Some(shares) => AttentionCapture::of_sums(*shares),
                    None => frame.capture((index, 0), padding, &row.prompt.positions, &row.running.job.plan),
                };
            }
        }
        Ok(())
    }

    /// Sends final tokens, and removes rows that are finished or cancelled.
    fn leave(&mut self, mut generation: Generation<'m>) -> Result<Option<Generation<'m>>, ServingError> {
        for row in &mut self.rows {
            row.tell();
            row.gone = row.finish.is_some() || row.running.is_abandoned();
            if let (true, Some(reason)) = (row.gone, row.finish) {
                row.running.finish_choice(row.choice, reason, row.generated);
            }
        }
        let staying: Vec<usize> = (0..self.rows.len()).filter(|i| !self.rows[*i].gone).collect();
        if staying.len() < self.rows.len() {
            self.rows.retain(|row| !row.gone);
            self.choose_layers();
            if staying.is_empty() {
                return Ok(None);
            }
            generation.select_rows(&staying)?;
            generation.trim()?;
        }
        Ok(Some(generation))
    }
}

impl<'m> Row<'m> {
    fn new(
        served: &'m ServedModel,
        running: &Arc<Running>,
        choice: usize,
        prompt: &Arc<Prompt>,
        attention: AttentionCapture,
    ) -> Self {
        let sampling = &running.job.sampling;
        let rng = sampler::stream(&[sampling.seed, choice as u64]);
        Self {
            running: Arc::clone(running),
            choice,
            prompt: Arc::clone(prompt),
            sampler: Sampler::new(served.model.info(), sampling.temperature, sampling.top_p, rng),
            text: ResponseText::new(served.processor.decoder(true), sampling.stop.clone()),
            attention,
            drawn: None,
            pending: VecDeque::new(),
            generated: 0,
            sent_tokens: 0,
            sent_bytes: 0,
            finish: None,
            gone: false,
        }
    }

    fn take_drawn(&mut self, choice: Choice, info: &ModelInfo) -> Result<(), ServingError> {
        let sampling = &self.running.job.sampling;
        let id = choice.token;
        let captured = std::mem::take(&mut self.attention);
        self.drawn = Some(RawToken {
            id,
            logprob: choice.logprob,
            top: choice.likeliest,
            focus: None,
            shares: captured.shares,
            maps: captured.maps,
        });
        self.generated += 1;
        let stopped = self.text.push(id)?;
        if stopped || info.eos_token_ids.contains(&id) {
            self.finish = Some(FinishReason::Stop);
        } else if self.generated >= sampling.max_new_tokens {
            self.finish = Some(FinishReason::Length);
        }
        if self.finish.is_some() {
            self.text.finish()?;
        }
        Ok(())
    }

    /// Completes the sampled token with the similarity of its state to the images, and with its state where maps are
    /// made of it; neither is known of a token that was not fed to the model.
    fn take_read(&mut self, similarity: Option<f64>, state: &[f32]) {
        if let Some(mut token) = self.drawn.take() {
            if !self.prompt.positions.images.is_empty() {
                token.focus = similarity.map(focus_score);
            }
            if let Some(images) = &self.prompt.images {
                token.maps = images.maps(state);
            }
            self.pending.push_back(token);
        }
    }

    /// Sends the tokens whose text is final.
    fn tell(&mut self) {
        let (settled, kept) =
            if self.finish.is_some() { (usize::MAX, self.text.kept()) } else { (self.text.settled(), usize::MAX) };
        while self.sent_tokens < kept && !self.pending.is_empty() && self.text.end_of(self.sent_tokens) <= settled {
            let end = self.text.end_of(self.sent_tokens);
            let text = self.text.as_str()[self.sent_bytes..end].to_owned();
            if let Some(token) = self.pending.pop_front() {
                // A closed channel means that the client has gone, which is not an error.
                let _ =
                    self.running.job.events.send(RawEvent::Token { choice: self.choice, text, token: Box::new(token) });
            }
            self.sent_tokens += 1;
            self.sent_bytes = end;
        }
    }
}
