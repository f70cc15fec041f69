//! Engines on other servers: which of them gets a request, and the exchange with it.
//!
//! A request goes to the engine with the lowest load; engines that have its model in memory are preferred. If an engine
//! cannot be reached, or fails before it has sent any output, the next one is tried. When the client disconnects, the
//! generation is stopped on the engine as well.

mod exchange;
mod health;

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
use exchange::{Exchange, Peer};
use health::EngineHealth;

/// Lists the live engines.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The engines that are alive.
    ///
    /// # Errors
    /// Why they cannot be listed.
    async fn engines(&self) -> Result<Vec<EngineRecord>, String>;
}

/// An engine that forwards requests to engines on other servers.
#[derive(Clone)]
pub struct Forwarder {
    directory: Arc<dyn Directory>,
    peer: Peer,
    health: Arc<EngineHealth>,
}

/// A request to forward, with the engines that were tried already.
struct RoutedRequest {
    route: &'static str,
    model: String,
    body: Bytes,
    tried: HashSet<String>,
}

impl RoutedRequest {
    fn new(route: &'static str, model: &ModelRef, request: &impl serde::Serialize) -> Result<Self, ServingError> {
        let body = serde_json::to_vec(request).map_err(|error| ServingError::Engine(error.to_string()))?;
        Ok(Self { route, model: model.id.clone(), body: body.into(), tried: HashSet::new() })
    }
}

impl Forwarder {
    /// A forwarder to the engines of `directory`, which share `secret`.
    pub fn new(directory: Arc<dyn Directory>, secret: &str) -> Self {
        Self { directory, peer: Peer::new(secret), health: Arc::default() }
    }

    /// The first frame of the best engine that answers, and the rest of the stream.
    async fn begin(&self, routed: &mut RoutedRequest) -> Result<(Frame, Exchange), ServingError> {
        let engines = self.directory.engines().await.map_err(ServingError::Engine)?;
        let mut refusal = None;
        for engine in self.health.ranked(engines, &routed.model) {
            if !routed.tried.insert(engine.id.clone()) {
                continue;
            }
            let in_flight = self.health.begin(&engine.id);
            match self.peer.ask(&engine, routed.route, routed.body.clone(), in_flight).await {
                Ok((Frame::Failed(error), _)) if is_of_the_engine(&error) => refusal = Some(error),
                Ok((Frame::Failed(error), _)) => return Err(error),
                Ok(begun) => return Ok(begun),
                Err(problem) => {
                    tracing::warn!(engine = %engine.id, address = %engine.address, problem,
                        "an engine does not answer");
                    self.health.lost(&engine);
                }
            }
        }
        let overloaded = refusal.filter(|error| *error != ServingError::Stopped);
        Err(overloaded.unwrap_or(ServingError::NoEngine { tried: routed.tried.len() }))
    }

    /// Relays the engine's events until the end or until the client disconnects.
    async fn relay(self, mut routed: RoutedRequest, mut exchange: Exchange, events: UnboundedSender<GenerateEvent>) {
        let mut sent = false;
        loop {
            let event = match exchange.next().await {
                Ok(Frame::Accepted) => continue,
                Ok(Frame::Token(token)) => GenerateEvent::Token(token),
                Ok(Frame::Done(answer)) => GenerateEvent::Done(answer),
                Ok(Frame::Failed(error)) if error != ServingError::Stopped => GenerateEvent::Failed(error),
                broken if sent => {
                    tracing::warn!(?broken, "an engine disconnected in the middle of an answer");
                    GenerateEvent::Failed(ServingError::Stopped)
                }
                _ => match self.begin(&mut routed).await {
                    Ok((_, next)) => {
                        exchange = next;
                        continue;
                    }
                    Err(error) => GenerateEvent::Failed(error),
                },
            };
            sent = true;
            let last = !matches!(event, GenerateEvent::Token(_));
            if events.send(event).is_err() || last {
                return;
            }
        }
    }
}

/// Is this a problem of one engine, so that another one may accept the request?
fn is_of_the_engine(error: &ServingError) -> bool {
    matches!(error, ServingError::Overloaded { .. } | ServingError::Saturated { .. } | ServingError::Stopped)
}

#[async_trait]
impl Engine for Forwarder {
    async fn generate(&self, model: &ModelRef, mut request: GenerateRequest) -> Result<GenerateStream, ServingError> {
        request.model.clone_from(&model.id);
        let mut routed = RoutedRequest::new(wire::GENERATE, model, &request)?;
        let (_, exchange) = self.begin(&mut routed).await?;
        let (events, told) = unbounded_channel();
        let (listener, relay) = (events.clone(), self.clone().relay(routed, exchange, events));
        // Dropping the exchange closes its connection, which stops the generation.
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
        match self.begin(&mut RoutedRequest::new(wire::SCORE, model, &request)?).await?.0 {
            Frame::Scored(answer) => Ok(*answer),
            other => Err(ServingError::Engine(format!("an engine answered a score request with {other:?}"))),
        }
    }

    /// Remote engines load models on their first request.
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
