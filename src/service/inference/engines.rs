//! Engines and servers apart: this server's engine that serves others, and the engines that serve this server.

use futures_util::{Stream, StreamExt as _, stream};
use tracing::Instrument as _;

use crate::clock::new_id;
use crate::config::serving::{ENGINE_EXPIRY, ENGINE_FORGOTTEN, ENGINE_HEARTBEAT};
use crate::domain::engine::{EngineBeat, EngineRecord, NewEngine};
use crate::service::access::secret;
use crate::service::inference::Inference;
use crate::service::{Result, ServiceError};
use crate::serving::request::{GenerateRequest, ScoreRequest};
use crate::serving::wire::Frame;
use crate::serving::{GenerateStream, ServingError};
use crate::store::StoreError;

impl Inference {
    /// Engines that serve other servers and are alive, the oldest first.
    pub async fn engines(&self) -> Result<Vec<EngineRecord>> {
        Ok(self.store.engines(self.clock.now() - ENGINE_EXPIRY).await?)
    }

    /// Is this what servers and engines of this database prove themselves with?
    pub fn is_peer(&self, sent: &str) -> bool {
        let expected = &self.settings.engine_secret;
        !expected.is_empty() && secret::matches(sent, &secret::hash(expected))
    }

    /// Tells servers that this one's engine serves them at `address`, until the server stops; then it leaves.
    pub async fn keep_registered(&self, address: String, host: String) {
        let engine = NewEngine {
            id: new_id("eng"),
            address,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host,
            device: self.settings.engine_device.to_string(),
        };
        loop {
            if let Err(error) = self.beat(&engine).await {
                tracing::warn!(%error, "cannot send the engine's heartbeat");
            }
            tokio::select! {
                () = tokio::time::sleep(ENGINE_HEARTBEAT) => {}
                () = self.stopping.cancelled() => break,
            }
        }
        if let Err(error) = self.database.remove_engine(&engine.id).await {
            tracing::warn!(%error, "could not unregister the engine");
        }
    }

    async fn beat(&self, engine: &NewEngine) -> std::result::Result<(), StoreError> {
        let usage = self.engine.usage();
        let load = usage.models.iter().map(|model| (model.queued + model.rows) as u64).sum();
        let models = self.engine.loaded().await.into_iter().map(|model| model.id).collect();
        let beat = EngineBeat { models, load };
        match self.database.engine_heartbeat(&engine.id, &beat).await {
            Err(StoreError::NotFound { .. }) => {
                self.database.forget_engines(self.clock.now() - ENGINE_FORGOTTEN).await?;
                let engine = self.database.register_engine(engine.clone()).await?;
                tracing::info!(engine = %engine.id, address = %engine.address, "the engine serves other servers");
                self.database.engine_heartbeat(&engine.id, &beat).await
            }
            told => told,
        }
    }

    /// A generation for another server, which has seen to it that its caller may have it.
    pub fn generate_for_server(self, request: GenerateRequest) -> impl Stream<Item = Frame> + Send + 'static {
        let accepted = async move {
            match self.generation(request).await {
                Ok(events) => stream::once(async { Frame::Accepted }).chain(events.map(Frame::from)).left_stream(),
                Err(error) => stream::once(async { Frame::Failed(error) }).right_stream(),
            }
        };
        stream::once(accepted.in_current_span()).flatten()
    }

    async fn generation(&self, request: GenerateRequest) -> std::result::Result<GenerateStream, ServingError> {
        let model = self.served_model(&request.model).await.map_err(in_terms_of_the_engine)?;
        self.engine.generate(&model, request).await
    }

    /// Scores for another server.
    pub fn score_for_server(self, request: ScoreRequest) -> impl Stream<Item = Frame> + Send + 'static {
        let scored = async move {
            let answer = async {
                let model = self.served_model(&request.model).await.map_err(in_terms_of_the_engine)?;
                self.engine.score(&model, request).await
            };
            answer.await.map_or_else(Frame::Failed, |answer| Frame::Scored(Box::new(answer)))
        };
        stream::once(scored.in_current_span())
    }
}

/// Why this engine cannot take a request, as another server tells its client; that it cannot at the moment is for the
/// log here.
fn in_terms_of_the_engine(error: ServiceError) -> ServingError {
    match error {
        ServiceError::Invalid { errors, .. } => ServingError::Invalid(errors),
        ServiceError::Unavailable(problem) => {
            tracing::warn!(problem, "a forwarded request was rejected");
            ServingError::Stopped
        }
        other => ServingError::Engine(other.to_string()),
    }
}
