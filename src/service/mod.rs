//! What the API means: submit a job, follow events, query metrics. Knows no HTTP.

pub mod access;
mod adapters;
pub mod builtin;
pub mod chat;
mod checkpoints;
pub mod compare;
pub mod datasets;
pub mod engines;
mod error;
pub mod events;
mod figures;
pub mod health;
mod hub;
pub mod idempotency;
mod image_text;
mod images;
mod inference;
mod jobs;
pub mod logs;
pub mod maps;
mod memory;
mod metrics;
pub mod models;
pub mod plan;
mod pool;
mod report;
mod retention;
pub mod rewards;
mod roots;
mod row_warnings;
mod rows;
pub mod runs;
pub mod starter;
pub mod storage;
pub mod submit;
pub mod sweeps;
mod truths;
mod upkeep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::artifacts::{ArtifactStore, Intact};
use crate::clock::{Clock, Stopwatch, new_id};
use crate::config::app::AppSettings;
use crate::domain::access::Caller;
use crate::domain::device::DeviceName;
use crate::fetch::ImageFetcher;
use crate::forward::Directory;
use crate::reward::Backends;
use crate::serving::Engine;
use crate::similarity::Checkpoints;
use crate::store::{Store, view};
use crate::telemetry::Telemetry;
use crate::webhook::HttpWebhooks;

pub use error::{Result, ServiceError};
pub use metrics::{DescribedKey, KeySummary, MetricSeries};

/// When a server was last heard of, and how long that has been so.
type Heard = (Option<DateTime<Utc>>, Stopwatch);

/// The program's doings over a database: shared by every door, and cheap to copy for a caller.
#[derive(Clone)]
pub struct Service {
    /// The database as the caller sees it.
    store: Arc<dyn Store>,
    /// On whose behalf.
    caller: Caller,
    /// Was there a key when somebody last looked?
    keyed: Arc<Mutex<Option<bool>>>,
    clock: Arc<dyn Clock>,
    /// This process among the servers on the database.
    server_id: Arc<str>,
    /// When other servers were last heard of, and how long that has been so.
    heard: Arc<Mutex<HashMap<String, Heard>>>,
    settings: Arc<AppSettings>,
    /// Rises when this process wrote an event: a hint for live streams, which poll anyway.
    news: watch::Sender<u64>,
    stopping: CancellationToken,
    /// Data sets whose rows are checked at the same time: each may hold two row groups in memory.
    dataset_checks: Arc<Semaphore>,
    engine: Arc<dyn Engine>,
    /// The engines that serve other servers.
    registered: Arc<dyn Directory>,
    /// What rewards may ask.
    rewards: Backends,
    /// Rewards that are tried.
    trials: pool::Pool,
    /// Rows that are looked at, as they are or as prompts.
    previews: pool::Pool,
    /// Fetches images that requests name by URL.
    images: ImageFetcher,
    /// Models that are on their way from a hub, and those that did not come.
    downloads: Arc<models::Downloads>,
    /// Opened by the first request for a checkpoint.
    artifacts: Arc<OnceCell<Arc<dyn ArtifactStore>>>,
    /// Files that were compared with their manifests, by one at a time.
    intact: Arc<Intact>,
    comparing: Arc<tokio::sync::Mutex<()>>,
    /// What `/readyz` saw last.
    last_look: health::LastLook,
    /// What this process counts.
    telemetry: Arc<Telemetry>,
}

impl Service {
    /// A service over an open database, on behalf of the program itself: it sees everything.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, settings: AppSettings) -> Self {
        let registered: Arc<dyn Directory> =
            Arc::new(engines::Registered { store: Arc::clone(&store), clock: Arc::clone(&clock) });
        let engine = engines::engine_of(&settings, &registered);
        let rewards = Backends {
            webhooks: HttpWebhooks::of(&settings, clock.clone()),
            image_text: Some(Checkpoints::on(DeviceName::CPU)),
        };
        Self {
            rewards,
            images: ImageFetcher::of(&settings),
            store,
            caller: Caller::anonymous(),
            keyed: Arc::default(),
            clock,
            server_id: new_id("srv").into(),
            heard: Arc::default(),
            settings: Arc::new(settings),
            news: watch::Sender::new(0),
            stopping: CancellationToken::new(),
            dataset_checks: Arc::new(Semaphore::new(datasets::CHECKS)),
            trials: pool::Pool::new("rewards", rewards::AT_ONCE, rewards::QUEUED),
            previews: pool::Pool::new("a look at rows", plan::AT_ONCE, plan::QUEUED),
            engine,
            registered,
            downloads: Arc::default(),
            artifacts: Arc::default(),
            intact: Arc::default(),
            comparing: Arc::default(),
            last_look: Arc::default(),
            telemetry: Arc::default(),
        }
    }

    /// The same service with another engine.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = engine;
        self
    }

    /// The same service on behalf of `caller`: it sees and changes what they may.
    #[must_use]
    pub fn for_caller(&self, caller: Caller) -> Self {
        Self { store: view(Arc::clone(&self.store), caller.clone()), caller, ..self.clone() }
    }

    /// On whose behalf it works.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The same service with another way to images on the web.
    #[must_use]
    pub fn with_image_fetcher(mut self, images: ImageFetcher) -> Self {
        self.images = images;
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

    /// What this process counts.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    fn tell_news(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}
