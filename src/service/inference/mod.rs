//! Generating and scoring: models by the names that requests use, and the engine that serves them.

pub mod adapters;
pub mod chat;
mod engines;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};

use crate::artifacts::ArtifactError;
use crate::service::core::Core;
use crate::service::{Result, ServiceError};
use crate::serving::answer::{GenerateAnswer, ScoreAnswer};
use crate::serving::request::{GenerateRequest, ScoreRequest};
use crate::serving::{GenerateEvent, ModelRef, ServingError};

/// Generation, scores and chats, by whichever engine serves this server. A handle that is cheap to make: everything it
/// works with is shared.
#[derive(Clone)]
pub struct Inference(Arc<Core>);

impl Deref for Inference {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Core {
    pub(in crate::service) fn inference(self: &Arc<Self>) -> Inference {
        Inference(Arc::clone(self))
    }
}

impl Inference {
    /// Generates; waits for the whole answer.
    pub async fn generate(&self, request: GenerateRequest) -> Result<GenerateAnswer> {
        let mut events = std::pin::pin!(self.generate_events(request).await?);
        while let Some(event) = events.next().await {
            match event {
                GenerateEvent::Token(_) => {}
                GenerateEvent::Done(answer) => return Ok(*answer),
                GenerateEvent::Failed(error) => return Err(error.into()),
            }
        }
        Err(ServingError::Stopped.into())
    }

    /// Generates; every event as it comes, the last one `Done` or `Failed`. Dropping the stream cancels the generation.
    pub async fn generate_events(
        &self,
        mut request: GenerateRequest,
    ) -> Result<impl Stream<Item = GenerateEvent> + Send + 'static> {
        let model = self.served_model(&request.model).await?;
        self.fetch_images(request.images.as_mut(), request.messages.as_mut()).await?;
        let events = self.engine.generate(&model, request).await?;
        let stopping = self.stopping.clone();
        Ok(futures_util::stream::unfold(Some(events), move |events| {
            let stopping = stopping.clone();
            async move {
                let mut events = events?;
                let event = tokio::select! {
                    event = events.next_event() => event.unwrap_or(GenerateEvent::Failed(ServingError::Stopped)),
                    () = stopping.cancelled() => GenerateEvent::Failed(ServingError::Stopped),
                };
                let more = matches!(event, GenerateEvent::Token(_)).then_some(events);
                Some((event, more))
            }
        }))
    }

    /// Scores responses.
    pub async fn score(&self, mut request: ScoreRequest) -> Result<ScoreAnswer> {
        let model = self.served_model(&request.model).await?;
        self.fetch_images(request.images.as_mut(), request.messages.as_mut()).await?;
        Ok(self.engine.score(&model, request).await?)
    }

    /// The folder of a model's name: an adapter that was loaded, a registered model, `ckpt_…`, `run_…@best` or
    /// `run_…@last`. Where the engine
    /// is on another server, the id alone.
    pub async fn served_model(&self, reference: &str) -> Result<ModelRef> {
        if let Some(adapted) = self.served_adapters.find(reference) {
            return Ok(adapted);
        }
        let source = self.models().source(reference, "/model").await?;
        let dir = match &source.checkpoint {
            _ if !self.engine.reads_folders() => PathBuf::new(),
            None => self.models().dir(&source.base).await?,
            Some(checkpoint) => self.models().checkpoint_dir(checkpoint).await?.map_err(|error| {
                let id = &checkpoint.id;
                match error {
                    ArtifactError::Damaged { .. } => ServiceError::Conflict(format!("checkpoint `{id}`: {error}")),
                    _ => ServiceError::field("/model", format!("the files of checkpoint `{id}` are gone: {error}")),
                }
            })?,
        };
        Ok(ModelRef { id: source.id, dir, adapter: None })
    }
}
