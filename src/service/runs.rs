//! Runs and their samples.

use crate::domain::page::{Listing, Page};
use crate::domain::run::{Run, RunFilter, RunUpdate};
use crate::domain::sample::{SampleRecord, SampleStep};
use crate::service::{Result, Service, ServiceError};

const MAX_NAME: usize = 200;
const MAX_NOTES: usize = 100_000;

impl Service {
    /// Runs, newest first.
    pub async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Listing<Run>> {
        Ok(self.store.runs(filter, page).await?)
    }

    /// One run.
    pub async fn run(&self, id: &str) -> Result<Run> {
        Ok(self.store.run(id).await?)
    }

    /// Changes a run's name, notes or labels.
    pub async fn update_run(&self, id: &str, update: &RunUpdate) -> Result<Run> {
        if let Some(name) = &update.name
            && (name.trim().is_empty() || name.chars().count() > MAX_NAME)
        {
            return Err(ServiceError::field("/name", format!("`name` must be a text of 1 to {MAX_NAME} characters")));
        }
        if let Some(notes) = &update.notes
            && notes.chars().count() > MAX_NOTES
        {
            let detail = format!("`notes` has {} characters; the limit is {MAX_NOTES}", notes.chars().count());
            return Err(ServiceError::field("/notes", detail));
        }
        Ok(self.store.update_run(id, update).await?)
    }

    /// Sample rollouts of a run, in the order of steps; of one step if given.
    pub async fn samples(&self, run_id: &str, step: Option<u64>, page: &Page) -> Result<Listing<SampleRecord>> {
        self.store.run(run_id).await?;
        Ok(self.store.samples(run_id, step, page).await?)
    }

    /// The steps of a run that have samples.
    pub async fn sample_steps(&self, run_id: &str) -> Result<Vec<SampleStep>> {
        self.store.run(run_id).await?;
        Ok(self.store.sample_steps(run_id).await?)
    }
}
