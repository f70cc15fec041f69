//! The output processor: turns raw tokens into events. Decodes ids, encodes maps, assembles the answer. Runs
//! concurrently with the compute thread.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tracing::{Instrument as _, Span};

use super::job::{RawEvent, RawToken};
use crate::clock::new_id;
use crate::serving::ServingError;
use crate::serving::answer::{Choice, FinishReason, GenerateAnswer, Timings, TokenEvent, TokenInfo, TopLogprob, Usage};
use crate::serving::engine::GenerateEvent;
use crate::serving::maps::{MapCollector, MapWriter};
use crate::serving::model::ServedModel;
use crate::serving::prepare::PreparedPrompt;
use crate::serving::request::GenerateRequest;
use crate::serving::visual::visual;

/// Turns the compute thread's events into the client's.
pub struct OutputProcessor {
    served: Arc<ServedModel>,
    prompt: Arc<PreparedPrompt>,
    writer: MapWriter,
    seed: u64,
    stream: bool,
    alternatives: bool,
    prompt_ids: bool,
    choices: Vec<Building>,
}

/// A response that is being assembled.
#[derive(Default)]
struct Building {
    text: String,
    tokens: Vec<TokenInfo>,
    /// Tokens received; a stream keeps none.
    count: usize,
    focus: Vec<f64>,
    maps: MapCollector,
    finish: Option<FinishReason>,
    generated: usize,
}

impl OutputProcessor {
    /// The processor of one request.
    pub fn new(served: Arc<ServedModel>, prompt: Arc<PreparedPrompt>, request: &GenerateRequest, seed: u64) -> Self {
        Self {
            writer: MapWriter::new(&request.attention, &prompt, &served.model.info().attention_layers),
            served,
            prompt,
            seed,
            stream: request.stream,
            alternatives: request.logprobs > 0,
            prompt_ids: request.return_token_ids,
            choices: (0..request.n).map(|_| Building::default()).collect(),
        }
    }

    /// Runs until the generation ends or the client disconnects, and keeps `span` open until then. Encoding pictures
    /// takes milliseconds and runs on a blocking thread; everything else takes less time than waking one.
    pub fn start(mut self, mut raw: UnboundedReceiver<RawEvent>, events: UnboundedSender<GenerateEvent>, span: Span) {
        let stopped = |events: &UnboundedSender<_>| {
            // A client that has gone is not an error, here and below.
            let _ = events.send(GenerateEvent::Failed(ServingError::Stopped));
        };
        if self.writer.draws() {
            tokio::task::spawn_blocking(move || {
                let _entered = span.enter();
                while let Some(event) = raw.blocking_recv() {
                    if self.take(event, &events, &span).is_break() {
                        return;
                    }
                }
                stopped(&events);
            });
        } else {
            let work = async move {
                let span = Span::current();
                while let Some(event) = raw.recv().await {
                    if self.take(event, &events, &span).is_break() {
                        return;
                    }
                }
                stopped(&events);
            };
            tokio::spawn(work.instrument(span));
        }
    }

    /// Processes one event; breaks after the last one, and when the client has gone.
    fn take(&mut self, event: RawEvent, events: &UnboundedSender<GenerateEvent>, span: &Span) -> ControlFlow<()> {
        let told = match event {
            RawEvent::Token { choice, text, token } => self.token(choice, text, &token),
            RawEvent::Finished { choice, reason, generated } => {
                self.choices[choice].finish = Some(reason);
                self.choices[choice].generated = generated;
                Ok(None)
            }
            RawEvent::Done(timings) => {
                span.record("queue_seconds", timings.queue_seconds);
                span.record("prefill_seconds", timings.prefill_seconds);
                span.record("decode_seconds", timings.decode_seconds);
                let answer = self.answer(timings);
                let _ =
                    events.send(answer.map_or_else(GenerateEvent::Failed, |answer| GenerateEvent::Done(answer.into())));
                return ControlFlow::Break(());
            }
            RawEvent::Failed(error) => Err(error),
        };
        let listening = match told {
            Ok(None) => !events.is_closed(),
            Ok(Some(event)) => events.send(event).is_ok(),
            Err(error) => {
                let _ = events.send(GenerateEvent::Failed(error));
                false
            }
        };
        if listening { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn token(&mut self, choice: usize, text: String, raw: &RawToken) -> Result<Option<GenerateEvent>, ServingError> {
        let token = self.describe(raw);
        let building = &mut self.choices[choice];
        let index = building.count;
        building.count += 1;
        building.text.push_str(&text);
        building.focus.extend(raw.focus);
        let maps = building.maps.add(&self.writer, index, &raw.maps)?;
        if self.stream {
            return Ok(Some(GenerateEvent::Token(Box::new(TokenEvent { choice, index, text, token, maps }))));
        }
        building.maps.keep(index, maps);
        building.tokens.push(token);
        Ok(None)
    }

    fn describe(&self, raw: &RawToken) -> TokenInfo {
        let text = |id| self.served.processor.token_text(id);
        let alternative = |&(id, logprob): &(u32, f64)| TopLogprob { id, text: text(id), logprob };
        TokenInfo {
            id: raw.id,
            text: text(raw.id),
            bytes: self.served.processor.token_bytes(raw.id),
            logprob: raw.logprob,
            top_logprobs: self.alternatives.then(|| raw.top.iter().map(alternative).collect()),
            focus: raw.focus,
            attention: raw.shares,
        }
    }

    fn answer(&mut self, timings: Timings) -> Result<GenerateAnswer, ServingError> {
        let completion_tokens = self.choices.iter().map(|c| c.generated).sum();
        let usage = Usage {
            prompt_tokens: self.prompt.len(),
            image_tokens: self.prompt.image_tokens(),
            completion_tokens,
            total_tokens: self.prompt.len() + completion_tokens,
        };
        let mut choices = Vec::with_capacity(self.choices.len());
        for (index, building) in std::mem::take(&mut self.choices).into_iter().enumerate() {
            choices.push(Choice {
                index,
                visual: visual(&building.focus),
                text: building.text,
                finish_reason: building.finish.unwrap_or(FinishReason::Length),
                tokens: building.tokens,
                attention: building.maps.finish(&self.writer)?,
            });
        }
        Ok(GenerateAnswer {
            id: new_id("gen"),
            model: self.served.id.clone(),
            seed: self.seed,
            choices,
            usage,
            timings,
            warnings: self.prompt.warnings.clone(),
            prompt_token_ids: self.prompt_ids.then(|| self.prompt.rendered.ids.clone()),
        })
    }
}
