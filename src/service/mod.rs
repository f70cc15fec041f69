//! What the API means: submit a job, follow events, query metrics. Knows no HTTP.
//!
//! A folder per wing, each with a handle: `service.jobs().submit(…)` is in `jobs/submit.rs`. Wings use each other in
//! one direction: `admin` over `runs` over `jobs` over `inference` and `datasets` over `models` over `access`, all over
//! one [`Core`].

pub mod access;
pub mod admin;
mod core;
pub mod datasets;
mod error;
pub mod inference;
pub mod jobs;
pub mod models;
pub mod runs;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::access::Access;
use self::admin::Admin;
use self::core::Core;
use self::datasets::Datasets;
use self::inference::Inference;
use self::jobs::Jobs;
use self::models::Models;
use self::runs::Runs;
use crate::clock::Clock;
use crate::config::app::AppSettings;
use crate::domain::access::Caller;
use crate::outbound::ImageFetcher;
use crate::serving::Engine;
use crate::store::Database;
use crate::telemetry::Telemetry;

pub use error::{Result, ServiceError};

/// What the API means, over a database and on behalf of a caller. HTTP and the command line go through one of
/// these.
#[derive(Clone)]
pub struct Service {
    core: Arc<Core>,
}

impl Service {
    /// A service over an open database, on behalf of the program itself: it sees everything.
    pub fn new(database: Arc<dyn Database>, clock: Arc<dyn Clock>, settings: AppSettings) -> Self {
        Self { core: Arc::new(Core::new(database, clock, settings)) }
    }

    /// The same service with another engine.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<dyn Engine>) -> Self {
        Arc::make_mut(&mut self.core).engine = engine;
        self
    }

    /// The same service with another client for images on the web.
    #[must_use]
    pub fn with_image_fetcher(mut self, images: ImageFetcher) -> Self {
        Arc::make_mut(&mut self.core).images = images;
        self
    }

    /// The same service on behalf of `caller`: it sees and changes what they may.
    #[must_use]
    pub fn for_caller(&self, caller: Caller) -> Self {
        Self { core: Arc::new(self.core.for_caller(caller)) }
    }

    /// Jobs: submit, plan, list, ask, change; their events and logs, the workers, and rewards that are tried.
    pub fn jobs(&self) -> Jobs {
        self.core.jobs()
    }

    /// Runs: list, change, delete; metrics, samples, maps, reports, comparisons and sweeps.
    pub fn runs(&self) -> Runs {
        self.core.runs()
    }

    /// Generation, scores and chats; the engines that serve other servers.
    pub fn inference(&self) -> Inference {
        self.core.inference()
    }

    /// Models and checkpoints: register, serve under a name, download, delete; what a model's name refers to.
    pub fn models(&self) -> Models {
        self.core.models()
    }

    /// Data sets: register, upload, look at their rows, delete.
    pub fn datasets(&self) -> Datasets {
        self.core.datasets()
    }

    /// Keys, sessions, quotas, the audit log, and requests that are sent twice.
    pub fn access(&self) -> Access {
        self.core.access()
    }

    /// What ships with the program, readiness, figures, retention, and the files of deleted records.
    pub fn admin(&self) -> Admin {
        self.core.admin()
    }

    /// The program's settings.
    pub fn settings(&self) -> &AppSettings {
        &self.core.settings
    }

    /// The database.
    pub fn database(&self) -> &Arc<dyn Database> {
        &self.core.database
    }

    /// Cancelled when the server stops: ends every live stream.
    pub fn stopping(&self) -> &CancellationToken {
        &self.core.stopping
    }

    /// What this process counts.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.core.telemetry
    }
}
