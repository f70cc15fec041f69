//! What every wing of the service works with: the database as the caller sees it, settings, the engine, the artifacts.

pub(super) mod adapters;
pub(super) mod artifacts;
pub(super) mod engines;
pub(super) mod hub;
pub(super) mod images;
pub(super) mod pool;
pub(super) mod roots;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use self::adapters::ServedAdapters;
use self::engines::{Registered, engine_of};
use self::pool::Pool;
use crate::artifacts::{ArtifactStore, Intact};
use crate::clock::{Clock, Stopwatch, new_id};
use crate::config::app::AppSettings;
use crate::domain::access::Caller;
use crate::domain::device::DeviceName;
use crate::forward::Directory;
use crate::outbound::HttpWebhooks;
use crate::outbound::ImageFetcher;
use crate::reward::Backends;
use crate::service::admin::readiness::LastLook;
use crate::service::models::downloads::Downloads;
use crate::service::runs::evaluations::IndexCache;
use crate::serving::Engine;
use crate::similarity::Checkpoints;
use crate::store::{Database, Store, view};
use crate::telemetry::Telemetry;

/// Data sets whose rows are checked at the same time; others wait.
const DATASET_CHECKS: usize = 2;
/// Rewards that are tried at the same time, and those that wait.
const TRIALS: (usize, usize) = (2, 16);
/// Previews of rows at the same time, and those that wait.
const PREVIEWS: (usize, usize) = (4, 64);

/// When a server was last heard of, and how long that has been so.
type Heard = (Option<DateTime<Utc>>, Stopwatch);

/// What the wings of the service share, on behalf of one caller. Everything but the caller and their view of the
/// database is the same for all of them.
#[derive(Clone)]
pub struct Core {
    /// The database as the caller sees it.
    pub(super) store: Arc<dyn Store>,
    /// All of the database, for what the program does by itself: heartbeats, upkeep, and authentication.
    pub(super) database: Arc<dyn Database>,
    /// On whose behalf.
    pub(super) caller: Caller,
    /// Did a key exist at the last check?
    pub(super) keyed: Arc<Mutex<Option<bool>>>,
    pub(super) clock: Arc<dyn Clock>,
    /// This process among the servers on the database.
    pub(super) server_id: Arc<str>,
    /// When other servers were last heard of, and how long that has been so.
    pub(super) heard: Arc<Mutex<HashMap<String, Heard>>>,
    pub(super) settings: Arc<AppSettings>,
    /// Rises when this process wrote an event: a hint for live streams, which poll anyway.
    pub(super) news: watch::Sender<u64>,
    pub(super) stopping: CancellationToken,
    /// Data sets whose rows are checked at the same time: each may hold two row groups in memory.
    pub(super) dataset_checks: Arc<Semaphore>,
    pub(super) engine: Arc<dyn Engine>,
    /// Adapters that are served under names of their own.
    pub(super) served_adapters: Arc<ServedAdapters>,
    /// The engines that serve other servers.
    pub(super) registered: Arc<dyn Directory>,
    /// What rewards may ask.
    pub(super) rewards: Backends,
    /// Rewards that are tried.
    pub(super) trials: Pool,
    /// Rows that are looked at, as they are or as prompts.
    pub(super) previews: Pool,
    /// Fetches images that requests name by URL.
    pub(super) images: ImageFetcher,
    /// Models that are being downloaded, and failed downloads.
    pub(super) downloads: Arc<Downloads>,
    /// Indexes of the rows of evaluations.
    pub(super) evaluations: Arc<IndexCache>,
    /// Opened by the first request for a checkpoint.
    opened: Arc<OnceCell<Arc<dyn ArtifactStore>>>,
    /// Files that were compared with their manifests, by one at a time.
    pub(super) intact: Arc<Intact>,
    pub(super) comparing: Arc<tokio::sync::Mutex<()>>,
    /// What `/readyz` saw last.
    pub(super) last_look: LastLook,
    /// What this process counts.
    pub(super) telemetry: Arc<Telemetry>,
}

impl Core {
    /// Over an open database, on behalf of the program itself, which sees everything.
    pub(super) fn new(database: Arc<dyn Database>, clock: Arc<dyn Clock>, settings: AppSettings) -> Self {
        let registered: Arc<dyn Directory> =
            Arc::new(Registered { store: database.clone(), clock: Arc::clone(&clock) });
        let engine = engine_of(&settings, &registered);
        let rewards = Backends {
            webhooks: HttpWebhooks::of(&settings, clock.clone()),
            image_text: Some(Checkpoints::on(DeviceName::CPU)),
        };
        Self {
            rewards,
            images: ImageFetcher::of(&settings),
            store: database.clone(),
            database,
            caller: Caller::anonymous(),
            keyed: Arc::default(),
            clock,
            server_id: new_id("srv").into(),
            heard: Arc::default(),
            settings: Arc::new(settings),
            news: watch::Sender::new(0),
            stopping: CancellationToken::new(),
            dataset_checks: Arc::new(Semaphore::new(DATASET_CHECKS)),
            trials: Pool::new("rewards", TRIALS.0, TRIALS.1),
            previews: Pool::new("a look at rows", PREVIEWS.0, PREVIEWS.1),
            engine,
            served_adapters: Arc::default(),
            registered,
            downloads: Arc::default(),
            evaluations: Arc::default(),
            opened: Arc::default(),
            intact: Arc::default(),
            comparing: Arc::default(),
            last_look: Arc::default(),
            telemetry: Arc::default(),
        }
    }

    /// The same on behalf of `caller`: it sees and changes what they may.
    pub(super) fn for_caller(&self, caller: Caller) -> Self {
        Self { store: view(self.database.clone(), caller.clone()), caller, ..self.clone() }
    }

    /// Tells the live streams of this process that there is an event.
    pub(super) fn tell_news(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}
