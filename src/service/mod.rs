//! What the API means: submit a job, follow events, query metrics. Knows no HTTP.

mod adapters;
pub mod builtin;
pub mod chat;
mod checkpoints;
pub mod compare;
pub mod datasets;
mod error;
pub mod events;
pub mod health;
pub mod idempotency;
mod inference;
mod jobs;
pub mod logs;
pub mod maps;
mod metrics;
pub mod models;
pub mod plan;
mod report;
pub mod rewards;
mod roots;
mod rows;
pub mod runs;
pub mod starter;
pub mod submit;
pub mod sweeps;

use std::sync::Arc;

use tokio::sync::{OnceCell, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::artifacts::ArtifactStore;
use crate::clock::Clock;
use crate::config::app::AppSettings;
use crate::config::serving::EngineLimits;
use crate::reward::WebhookClient;
use crate::serving::{Engine, LocalEngine};
use crate::store::Store;
use crate::webhook::HttpWebhooks;

pub use error::{Result, ServiceError};
pub use metrics::{DescribedKey, KeySummary, MetricSeries};

/// The program's doings over a database: shared by every door.
pub struct Service {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: AppSettings,
    /// Rises when this process wrote an event: a hint for live streams, which poll anyway.
    news: watch::Sender<u64>,
    stopping: CancellationToken,
    /// Data sets whose rows are checked at the same time: each may hold two row groups in memory.
    dataset_checks: Semaphore,
    engine: Arc<dyn Engine>,
    /// Asks webhook rewards, where the settings allow any host.
    webhooks: Option<Arc<dyn WebhookClient>>,
    /// Models that are on their way from a hub, and those that did not come.
    downloads: models::Downloads,
    /// Opened by the first request for a checkpoint.
    artifacts: OnceCell<Arc<dyn ArtifactStore>>,
}

impl Service {
    /// A service over an open database.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, settings: AppSettings) -> Self {
        let engine = Arc::new(LocalEngine::on(settings.engine_device, EngineLimits::from(&settings.limits)));
        let webhooks = HttpWebhooks::of(&settings, clock.clone());
        Self {
            webhooks,
            store,
            clock,
            settings,
            news: watch::Sender::new(0),
            stopping: CancellationToken::new(),
            dataset_checks: Semaphore::new(datasets::CHECKS),
            engine,
            downloads: models::Downloads::default(),
            artifacts: OnceCell::new(),
        }
    }

    /// The same service with another engine.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = engine;
        self
    }

    /// The program's settings.
    pub fn settings(&self) -> &AppSettings {
        &self.settings
    }

    /// The database.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Cancelled when the server stops: ends every live stream.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    fn tell_news(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}
