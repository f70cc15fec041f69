//! Generating and scoring: models by the names that requests use, and the engine that serves them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};

use crate::artifacts::{self, ArtifactError, ArtifactStore};
use crate::service::{Result, Service, ServiceError};
use crate::serving::answer::{GenerateAnswer, ScoreAnswer};
use crate::serving::request::{GenerateRequest, ScoreRequest};
use crate::serving::{GenerateEvent, ModelRef, ServingError};

/// A server is done with an artifact's files after this time at the latest: models are in memory then, downloads have ended.
const IN_USE: Duration = Duration::from_hours(1);

impl Service {
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

    /// The folder behind a model's name: a registered model, `ckpt_…`, `run_…@best` or `run_…@last`. Where the engine is on
    /// another server, the id alone.
    pub async fn served_model(&self, reference: &str) -> Result<ModelRef> {
        let source = self.model_source(reference, "/model").await?;
        let dir = match &source.checkpoint {
            _ if !self.engine.reads_folders() => PathBuf::new(),
            None => self.model_dir(&source.base).await?,
            Some(checkpoint) => self.checkpoint_dir(checkpoint).await?.map_err(|error| {
                let id = &checkpoint.id;
                match error {
                    ArtifactError::Damaged { .. } => ServiceError::Conflict(format!("checkpoint `{id}`: {error}")),
                    _ => ServiceError::field("/model", format!("the files of checkpoint `{id}` are gone: {error}")),
                }
            })?,
        };
        Ok(ModelRef { id: source.id, dir })
    }

    /// The folder of an artifact, which may have to be fetched first.
    pub(super) async fn artifact_path(&self, key: &str) -> Result<std::result::Result<PathBuf, ArtifactError>> {
        let (artifacts, key) = (Arc::clone(self.artifacts().await?), key.to_owned());
        artifacts.let_go(IN_USE);
        let found = tokio::task::spawn_blocking(move || artifacts.path(&key)).await;
        found.map_err(|error| ServiceError::Internal(error.to_string()))
    }

    pub(super) async fn artifacts(&self) -> Result<&Arc<dyn ArtifactStore>> {
        let open = async || {
            let settings = self.settings.clone();
            let opened = tokio::task::spawn_blocking(move || artifacts::open_configured(&settings)).await;
            let opened = opened.map_err(|error| ServiceError::Internal(error.to_string()))?;
            opened.map_err(|error| ServiceError::Unavailable(error.to_string()))
        };
        self.artifacts.get_or_try_init(open).await
    }
}

impl From<ServingError> for ServiceError {
    fn from(error: ServingError) -> Self {
        let message = error.to_string();
        match error {
            ServingError::Invalid(errors) => Self::invalid(errors),
            ServingError::ModelFolder { .. } => Self::field("/model", message),
            ServingError::Overloaded { retry_after, .. } | ServingError::Saturated { retry_after, .. } => {
                Self::Overloaded { message, retry_after: u32::try_from(retry_after).unwrap_or(u32::MAX) }
            }
            ServingError::NoEngine { .. } => Self::NoEngine(message),
            ServingError::Stopped => Self::Unavailable(message),
            ServingError::Engine(_) => Self::Internal(message),
        }
    }
}
