//! Engines on other servers: which of them takes a request, and the conversation with it.
//!
//! A request goes to the engine with the least to do, those first that have its model in memory. One that cannot be reached,
//! or breaks off before it told anything, leaves the request to the next; whoever stops listening here stops the generation there.

mod choice;
mod exchange;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Bytes;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tracing::Instrument as _;

use crate::domain::engine::EngineRecord;
use crate::serving::answer::ScoreAnswer;
use crate::serving::request::{GenerateRequest, ScoreRequest};
use crate::serving::wire::{self, Frame};
use crate::serving::{CancelFlag, Engine, GenerateEvent, GenerateStream, LoadedModel, ModelRef, ServingError};
use choice::Standing;
use exchange::{Exchange, Peer};

/// Knows the engines that are alive.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The engines that are alive.
    ///
    /// # Errors
    /// Why nobody knows, in words.
    async fn engines(&self) -> Result<Vec<EngineRecord>, String>;
}

/// An engine made of those on other servers.
#[derive(Clone)]
pub struct Forwarder {
    directory: Arc<dyn Directory>,
    peer: Peer,
    standing: Arc<Standing>,
}

/// A request on its way, with the engines that did not take it.
struct Errand {
    route: &'static str,
    model: String,
    body: Bytes,
    tried: HashSet<String>,
}

impl Errand {
    fn new(route: &'static str, model: &ModelRef, request: &impl serde::Serialize) -> Result<Self, ServingError> {
        let body = serde_json::to_vec(request).map_err(|error| ServingError::Engine(error.to_string()))?;
        Ok(Self { route, model: model.id.clone(), body: body.into(), tried: HashSet::new() })
    }
}

impl Forwarder {
    /// A forwarder to the engines of `directory`, which share `secret`.
    pub fn new(directory: Arc<dyn Directory>, secret: &str) -> Self {
        Self { directory, peer: Peer::new(secret), standing: Arc::default() }
    }

    /// The first frame of the best engine that answers, and the rest of the conversation.
    async fn begin(&self, errand: &mut Errand) -> Result<(Frame, Exchange), ServingError> {
        let engines = self.directory.engines().await.map_err(ServingError::Engine)?;
        let mut refusal = None;
        for engine in self.standing.ranked(engines, &errand.model) {
            if !errand.tried.insert(engine.id.clone()) {
                continue;
            }
            let busy = self.standing.busy(&engine.id);
            match self.peer.ask(&engine, errand.route, errand.body.clone(), busy).await {
                Ok((Frame::Failed(error), _)) if is_of_the_engine(&error) => refusal = Some(error),
                Ok((Frame::Failed(error), _)) => return Err(error),
                Ok(begun) => return Ok(begun),
                Err(problem) => {
                    tracing::warn!(engine = %engine.id, address = %engine.address, problem, "an engine does not answer");
                    self.standing.lost(&engine);
                }
            }
        }
        let overloaded = refusal.filter(|error| *error != ServingError::Stopped);
        Err(overloaded.unwrap_or(ServingError::NoEngine { tried: errand.tried.len() }))
    }

    /// Hands on what the engine tells, to the end or until nobody listens.
    async fn relay(self, mut errand: Errand, mut exchange: Exchange, events: UnboundedSender<GenerateEvent>) {
        let mut told = false;
        loop {
            let event = match exchange.next().await {
                Ok(Frame::Accepted) => continue,
                Ok(Frame::Token(token)) => GenerateEvent::Token(token),
                Ok(Frame::Done(answer)) => GenerateEvent::Done(answer),
                Ok(Frame::Failed(error)) if error != ServingError::Stopped => GenerateEvent::Failed(error),
                broken if told => {
                    tracing::warn!(?broken, "an engine broke off in the middle of an answer");
                    GenerateEvent::Failed(ServingError::Stopped)
                }
                _ => match self.begin(&mut errand).await {
                    Ok((_, next)) => {
                        exchange = next;
                        continue;
                    }
                    Err(error) => GenerateEvent::Failed(error),
                },
            };
            told = true;
            let last = !matches!(event, GenerateEvent::Token(_));
            if events.send(event).is_err() || last {
                return;
            }
        }
    }
}

/// May another engine take the request that one refuses for this reason?
fn is_of_the_engine(error: &ServingError) -> bool {
    matches!(error, ServingError::Overloaded { .. } | ServingError::Saturated { .. } | ServingError::Stopped)
}

#[async_trait]
impl Engine for Forwarder {
    async fn generate(&self, model: &ModelRef, mut request: GenerateRequest) -> Result<GenerateStream, ServingError> {
        request.model.clone_from(&model.id);
        let mut errand = Errand::new(wire::GENERATE, model, &request)?;
        let (_, exchange) = self.begin(&mut errand).await?;
        let (events, told) = unbounded_channel();
        let (listener, relay) = (events.clone(), self.clone().relay(errand, exchange, events));
        // An exchange that is dropped closes its connection, which stops the generation.
        let relay = async move {
            tokio::select! {
                () = relay => {}
                () = listener.closed() => {}
            }
        };
        tokio::spawn(relay.in_current_span());
        Ok(GenerateStream::new(told, CancelFlag::default()))
    }

    async fn score(&self, model: &ModelRef, mut request: ScoreRequest) -> Result<ScoreAnswer, ServingError> {
        request.model.clone_from(&model.id);
        match self.begin(&mut Errand::new(wire::SCORE, model, &request)?).await?.0 {
            Frame::Scored(answer) => Ok(*answer),
            other => Err(ServingError::Engine(format!("an engine answered a request for scores with {other:?}"))),
        }
    }

    /// Engines elsewhere load models with their first request.
    async fn load(&self, model: &ModelRef) -> Result<LoadedModel, ServingError> {
        Err(ServingError::Engine(format!("model `{}` can only be loaded by the server that serves it", model.id)))
    }

    async fn unload(&self, _id: &str) -> bool {
        false
    }

    async fn loaded(&self) -> Vec<LoadedModel> {
        Vec::new()
    }

    fn reads_folders(&self) -> bool {
        false
    }
}
