//! Jobs: submit, list, get, change, their actions, events, logs and workers.

mod adapters;
pub(super) mod alerts;
pub mod audits;
pub mod events;
mod image_text;
pub mod logs;
mod memory_check;
pub mod plan;
pub(in crate::service) mod preview;
pub mod rewards;
mod rollout_engine;
mod row_warnings;
pub mod submit;
mod trackers;
mod truths;
pub mod warning;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use chrono::TimeDelta;

use crate::config::job::field_faults;
use crate::domain::job::{Job, JobAction, JobFilter, JobUpdate};
use crate::domain::page::{Listing, Page};
use crate::domain::worker::WorkerRecord;
use crate::service::core::Core;
use crate::service::{Result, ServiceError};

/// Workers that were silent for longer are left out of lists.
const WORKERS_FOR: TimeDelta = TimeDelta::days(1);
/// Longest reason that people may give.
const MAX_REASON: usize = 500;
/// The reason where people give none.
const ASKED: &str = "asked by the API";

/// Jobs. A handle that is cheap to make: everything it works with is shared.
#[derive(Clone)]
pub struct Jobs(Arc<Core>);

impl Deref for Jobs {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Core {
    pub(in crate::service) fn jobs(self: &Arc<Self>) -> Jobs {
        Jobs(Arc::clone(self))
    }
}

impl Jobs {
    /// Jobs, newest first.
    pub async fn list(&self, filter: &JobFilter, page: &Page) -> Result<Listing<Job>> {
        Ok(self.store.jobs(filter, page).await?)
    }

    /// One job.
    pub async fn get(&self, id: &str) -> Result<Job> {
        Ok(self.store.job(id).await?)
    }

    /// Workers heard of within the last day.
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>> {
        Ok(self.store.workers(self.clock.now() - WORKERS_FOR).await?)
    }

    /// Asks something of a job; asking the same again changes nothing and succeeds.
    pub async fn ask(&self, id: &str, action: JobAction, reason: Option<&str>) -> Result<Job> {
        let reason = reason.map(str::trim).filter(|reason| !reason.is_empty()).unwrap_or(ASKED);
        let length = reason.chars().count();
        if length > MAX_REASON {
            let detail = format!("`reason` has {length} characters; the limit is {MAX_REASON}");
            return Err(ServiceError::field("/reason", detail));
        }
        let job = self.store.ask(id, action, reason).await?;
        self.tell_news();
        Ok(job)
    }

    /// Changes a job's priority and tags; the limits are those of a new job.
    pub async fn update(&self, id: &str, update: &JobUpdate) -> Result<Job> {
        let mut given = BTreeMap::new();
        given.extend(update.priority.map(|priority| ("priority", serde_json::json!(priority))));
        given.extend(update.tags.as_ref().map(|tags| ("tags", serde_json::json!(tags))));
        let errors = field_faults(given);
        if !errors.is_empty() {
            return Err(ServiceError::invalid(errors));
        }
        let job = self.store.update_job(id, update).await?;
        self.tell_news();
        Ok(job)
    }
}
