//! Jobs: list, get, cancel.

use crate::domain::job::{Job, JobAction, JobFilter};
use crate::domain::page::{Listing, Page};
use crate::service::{Result, Service};

impl Service {
    /// Jobs, newest first.
    pub async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Listing<Job>> {
        Ok(self.store.jobs(filter, page).await?)
    }

    /// One job.
    pub async fn job(&self, id: &str) -> Result<Job> {
        Ok(self.store.job(id).await?)
    }

    /// Asks a job to end; asking again changes nothing and succeeds.
    pub async fn cancel_job(&self, id: &str, reason: &str) -> Result<Job> {
        let job = self.store.ask(id, JobAction::Cancel, reason).await?;
        self.tell_news();
        Ok(job)
    }
}
