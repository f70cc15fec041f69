//! The interface of the engine; implementations run in this process or forward to another host.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;
use utoipa::ToSchema;

use super::ServingError;
use super::answer::{GenerateAnswer, ScoreAnswer, TokenEvent};
use super::request::{GenerateRequest, ScoreRequest};
use crate::domain::engine::EngineUsage;

/// A resolved model: the id used in answers, and its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelRef {
    /// A registered name or `ckpt_…`.
    pub id: String,
    /// A folder in the Hugging Face layout; empty for engines that do not need it.
    pub dir: PathBuf,
    /// The folder of a low-rank adapter over it.
    pub adapter: Option<PathBuf>,
}

/// A model in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoadedModel {
    /// Its id.
    pub id: String,
    /// Its family, e.g. `qwen2_5_vl`.
    pub family: String,
    /// Number of parameters.
    pub parameters: usize,
    /// Longest sequence in tokens.
    pub max_positions: usize,
    /// Requests that wait for it.
    pub queued_requests: usize,
    /// Decoder layers.
    #[serde(default)]
    pub layers: usize,
    /// The decoder layers that have attention.
    #[serde(default)]
    pub attention_layers: Vec<usize>,
}

/// Events of a generation, in order: tokens (when streaming), then exactly one `Done` or `Failed`.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerateEvent {
    /// A token; only for requests with `stream`.
    Token(Box<TokenEvent>),
    /// The answer. When tokens were streamed, it does not repeat them: `tokens` and `attention.tokens` are empty.
    Done(Box<GenerateAnswer>),
    /// The request failed.
    Failed(ServingError),
}

/// Generates and scores with models from folders.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Starts a generation; the model is loaded when it is not in memory. `request.model` is ignored.
    ///
    /// # Errors
    /// A bad request, a model that cannot be loaded, a full queue.
    async fn generate(&self, model: &ModelRef, request: GenerateRequest) -> Result<GenerateStream, ServingError>;

    /// Scores responses. `request.model` is ignored.
    ///
    /// # Errors
    /// A bad request, a model that cannot be loaded, a full queue, an engine failure.
    async fn score(&self, model: &ModelRef, request: ScoreRequest) -> Result<ScoreAnswer, ServingError>;

    /// Loads a model ahead of its first request.
    ///
    /// # Errors
    /// A folder that cannot be served.
    async fn load(&self, model: &ModelRef) -> Result<LoadedModel, ServingError>;

    /// Frees a model's memory once its accepted requests are done; false when it was not loaded.
    async fn unload(&self, id: &str) -> bool;

    /// The models in memory, most recently used first.
    async fn loaded(&self) -> Vec<LoadedModel>;

    /// Does it read model folders in this process? If not, they need not be fetched here.
    fn reads_folders(&self) -> bool {
        true
    }

    /// Current usage; empty for an engine that does not report it.
    fn usage(&self) -> EngineUsage {
        EngineUsage::default()
    }
}

/// A running generation. Dropping it cancels the generation.
#[derive(Debug)]
pub struct GenerateStream {
    events: UnboundedReceiver<GenerateEvent>,
    cancelled: CancelFlag,
}

impl GenerateStream {
    /// A stream of `events`; `cancelled` is raised when it is dropped.
    pub fn new(events: UnboundedReceiver<GenerateEvent>, cancelled: CancelFlag) -> Self {
        Self { events, cancelled }
    }

    /// The next event; none after the last.
    pub async fn next_event(&mut self) -> Option<GenerateEvent> {
        self.events.recv().await
    }

    /// Waits for the answer, ignoring tokens.
    ///
    /// # Errors
    /// Why the generation failed.
    pub async fn answer(mut self) -> Result<GenerateAnswer, ServingError> {
        loop {
            match self.next_event().await {
                Some(GenerateEvent::Token(_)) => {}
                Some(GenerateEvent::Done(answer)) => return Ok(*answer),
                Some(GenerateEvent::Failed(error)) => return Err(error),
                None => return Err(ServingError::Stopped),
            }
        }
    }
}

impl Stream for GenerateStream {
    type Item = GenerateEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<GenerateEvent>> {
        self.events.poll_recv(context)
    }
}

impl Drop for GenerateStream {
    fn drop(&mut self) {
        self.cancelled.raise();
    }
}

/// Tells the engine that the client has gone.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Asks the engine to stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Has it been asked to stop?
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
