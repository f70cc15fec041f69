//! Figures for Prometheus: counters of this process, and values that are read from the database and the engine.

use chrono::TimeDelta;

use crate::service::admin::Admin;
use crate::service::{Result, ServiceError};
use crate::telemetry::Snapshot;

/// Workers that were silent for longer are not shown.
const LATELY: TimeDelta = TimeDelta::minutes(5);

impl Admin {
    /// Every figure as text. A database that does not answer leaves its figures out: it must not blind the watch.
    pub async fn figures(&self) -> Result<String> {
        let now = self.clock.now();
        let read = async {
            let (figures, workers) = (self.store.figures().await?, self.store.workers(now - LATELY).await?);
            Ok::<_, ServiceError>((figures, workers, self.inference().engines().await?.len()))
        };
        let (figures, workers, engines) = match read.await {
            Ok((figures, workers, engines)) => (Some(figures), workers, engines),
            Err(error) => {
                tracing::warn!(%error, "the database figures are not available");
                (None, Vec::new(), 0)
            }
        };
        let version = env!("CARGO_PKG_VERSION");
        let snapshot = Snapshot { now, version, figures, workers, engines, engine: self.engine.usage() };
        self.telemetry.text(&snapshot).map_err(|error| ServiceError::Internal(error.to_string()))
    }
}
