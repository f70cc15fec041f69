//! Jobs: list, get, change, and what people may ask of them.

use std::collections::BTreeMap;

use crate::config::job::field_faults;
use crate::domain::job::{Job, JobAction, JobFilter, JobUpdate};
use crate::domain::page::{Listing, Page};
use crate::service::{Result, Service, ServiceError};

/// Longest reason that people may give.
const MAX_REASON: usize = 500;
/// The reason where people give none.
const ASKED: &str = "asked by the API";

impl Service {
    /// Jobs, newest first.
    pub async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Listing<Job>> {
        Ok(self.store.jobs(filter, page).await?)
    }

    /// One job.
    pub async fn job(&self, id: &str) -> Result<Job> {
        Ok(self.store.job(id).await?)
    }

    /// Asks something of a job; asking the same again changes nothing and succeeds.
    pub async fn ask_job(&self, id: &str, action: JobAction, reason: Option<&str>) -> Result<Job> {
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

    /// Changes a job's priority and labels; the limits are those of a new job.
    pub async fn update_job(&self, id: &str, update: &JobUpdate) -> Result<Job> {
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
