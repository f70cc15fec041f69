//! Runs and their samples.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::metrics::{KeySummary, headline_keys};
use crate::config::job::field_faults;
use crate::domain::brief::is_printable;
use crate::domain::checkpoint::checkpoint_folder;
use crate::domain::eval_row::rows_folder;
use crate::domain::job::Job;
use crate::domain::metric::SeriesQuery;
use crate::domain::page::{Listing, Page};
use crate::domain::run::{Continuation, Run, RunFilter, RunUpdate};
use crate::domain::sample::{SampleRecord, SampleStep};
use crate::domain::tags;
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};

/// Additional fields of a list of runs.
#[derive(Debug, Clone, Default)]
pub struct Include {
    /// Last and best values.
    pub summary: bool,
    /// Curves with at most this number of points.
    pub sparklines: Option<u32>,
    /// Of these metrics; empty: of the usual ones.
    pub keys: Vec<String>,
}

/// Step and mean value (null where it is not finite), in the order of steps.
pub type Sparkline = Vec<(u64, Option<f64>)>;

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunEntry {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// Last, smallest, largest and best values by key; only if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<BTreeMap<String, KeySummary>>,
    /// Small curves by key: pairs of step and mean value; only if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, Vec<Vec<f64>>>>)]
    pub sparklines: Option<BTreeMap<String, Sparkline>>,
}

const MAX_NAME: usize = 200;
const MAX_NOTES: usize = 100_000;

impl Runs {
    /// Runs, newest first, with what a table of runs shows of each.
    pub async fn list(&self, filter: &RunFilter, page: &Page, include: &Include) -> Result<Listing<RunEntry>> {
        let usual = headline_keys();
        let keys = if include.keys.is_empty() { &usual } else { &include.keys };
        let runs = self.store.runs(filter, page).await?;
        let ids: Vec<&str> = runs.data.iter().map(|run| run.id.as_str()).collect();
        for key in &include.keys {
            self.known_metric("keys", key, &ids).await?;
        }
        let mut entries = Vec::with_capacity(runs.data.len());
        for run in runs.data {
            let summary = if include.summary { Some(self.summary(&run.id, keys).await?) } else { None };
            let sparklines = match include.sparklines {
                Some(points) => Some(self.sparklines(&run.id, keys, points).await?),
                None => None,
            };
            entries.push(RunEntry { run, summary, sparklines });
        }
        Ok(Listing { data: entries, has_more: runs.has_more, next: runs.next })
    }

    async fn sparklines(&self, run_id: &str, keys: &[String], points: u32) -> Result<BTreeMap<String, Sparkline>> {
        let query = SeriesQuery { from_step: None, to_step: None, max_points: Some(points) };
        let mut lines = BTreeMap::new();
        for key in keys {
            let series = self.store.metric_series(run_id, key, &query).await?;
            if !series.is_empty() {
                lines.insert(key.clone(), series.into_iter().map(|point| (point.step, point.mean)).collect());
            }
        }
        Ok(lines)
    }

    /// Continues a run that has ended by a new job on the same run, for `steps` steps after its newest checkpoint.
    pub async fn continue_run(&self, id: &str, steps: u64, created_by: Option<String>) -> Result<Job> {
        let errors = field_faults([("steps", json!(steps))]);
        if !errors.is_empty() {
            return Err(ServiceError::invalid(errors));
        }
        let job = self.store.continue_run(id, &Continuation { steps, created_by }).await?;
        self.tell_news();
        Ok(job)
    }

    /// Forgets a run with everything that hangs on it; its files follow.
    pub async fn delete(&self, id: &str) -> Result<()> {
        let jobs = self.store.run_jobs(id).await?;
        let checkpoints = self.store.delete_run(id).await?;
        self.tell_news();
        for checkpoint in &checkpoints {
            self.models().drop_files(checkpoint).await?;
        }
        // What attempts that died have left there, and the rows of evaluations.
        for folder in [checkpoint_folder(id), rows_folder(id)] {
            if let Err(error) = self.remove_files(&folder).await {
                tracing::warn!(run = id, %error, "cannot remove the files of a run");
            }
        }
        self.jobs().drop_logs(jobs).await
    }

    /// One run.
    pub async fn get(&self, id: &str) -> Result<Run> {
        Ok(self.store.run(id).await?)
    }

    /// Changes a run's name, notes or tags.
    pub async fn update(&self, id: &str, update: &RunUpdate) -> Result<Run> {
        if let Some(name) = &update.name
            && (name.trim().is_empty() || name.chars().count() > MAX_NAME || !name.chars().all(is_printable))
        {
            let detail = format!("`name` must be a string of 1 to {MAX_NAME} printable characters");
            return Err(ServiceError::field("/name", detail));
        }
        let tags = update.tags.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
        if let Some(complaint) = tags::complaint(tags.collect::<Vec<_>>().into_iter()) {
            return Err(ServiceError::field("/tags", format!("`tags` {complaint}")));
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
