//! Runs of one caller, with their metrics, samples and checkpoints.

use async_trait::async_trait;

use super::View;
use crate::domain::alert::Alert;
use crate::domain::checkpoint::{Checkpoint, CheckpointFilter};
use crate::domain::job::Job;
use crate::domain::metric::{MetricKey, MetricPoint, SeriesQuery};
use crate::domain::page::{Listing, Page};
use crate::domain::run::{Continuation, Run, RunFilter, RunUpdate};
use crate::domain::sample::{SampleRecord, SampleStep};
use crate::domain::tracker::Tracking;
use crate::store::error::Result;
use crate::store::traits::{AlertStore, CheckpointStore, MetricStore, Once, RunStore, SampleStore, TrackerStore};

impl View {
    /// May the caller read what hangs on this run?
    async fn seen_run(&self, id: &str) -> Result<()> {
        if self.is_admin() {
            return Ok(());
        }
        self.seen(&self.store.run(id).await?.project, "run", id)
    }

    async fn writable_run(&self, id: &str) -> Result<Run> {
        let run = self.store.run(id).await?;
        self.writable(&run.project, "run", id)?;
        Ok(run)
    }

    async fn writable_checkpoint(&self, id: &str) -> Result<()> {
        self.writable(&self.store.checkpoint(id).await?.project, "checkpoint", id)
    }
}

#[async_trait]
impl RunStore for View {
    async fn run(&self, id: &str) -> Result<Run> {
        let run = self.store.run(id).await?;
        self.seen(&run.project, "run", id)?;
        Ok(run)
    }

    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Listing<Run>> {
        let mut filter = filter.clone();
        if !self.narrow(&mut filter.project) {
            return Ok(Listing::whole(Vec::new()));
        }
        self.store.runs(&filter, page).await
    }

    async fn update_run(&self, id: &str, update: &RunUpdate) -> Result<Run> {
        self.writable_run(id).await?;
        let run = self.store.update_run(id, update).await?;
        self.did("run.update", &run.project, id, None).await;
        Ok(run)
    }

    async fn continue_run_once(&self, id: &str, continuation: &Continuation, once: Once<'_>) -> Result<Job> {
        self.writable_run(id).await?;
        let created_by = self.signed(continuation.created_by.clone());
        let job = self
            .store
            .continue_run_once(id, &Continuation { created_by, ..continuation.clone() }, self.once(once))
            .await?;
        self.did("run.continue", &job.project, id, Some(&job.id)).await;
        Ok(job)
    }

    async fn run_jobs(&self, id: &str) -> Result<Vec<String>> {
        self.seen_run(id).await?;
        self.store.run_jobs(id).await
    }

    async fn delete_run(&self, id: &str) -> Result<Vec<Checkpoint>> {
        let run = self.writable_run(id).await?;
        let gone = self.store.delete_run(id).await?;
        self.did("run.delete", &run.project, id, Some(&run.name)).await;
        Ok(gone)
    }
}

#[async_trait]
impl AlertStore for View {
    async fn alerts(&self, run_id: &str, page: &Page) -> Result<Listing<Alert>> {
        self.seen_run(run_id).await?;
        self.store.alerts(run_id, page).await
    }
}

#[async_trait]
impl TrackerStore for View {
    async fn trackers(&self, run_id: &str) -> Result<Vec<Tracking>> {
        self.seen_run(run_id).await?;
        self.store.trackers(run_id).await
    }
}

#[async_trait]
impl MetricStore for View {
    async fn metric_keys(&self, run_id: &str) -> Result<Vec<MetricKey>> {
        self.seen_run(run_id).await?;
        self.store.metric_keys(run_id).await
    }

    async fn metric_series(&self, run_id: &str, key: &str, query: &SeriesQuery) -> Result<Vec<MetricPoint>> {
        self.seen_run(run_id).await?;
        self.store.metric_series(run_id, key, query).await
    }
}

#[async_trait]
impl SampleStore for View {
    async fn sample(&self, run_id: &str, id: &str) -> Result<SampleRecord> {
        self.seen_run(run_id).await?;
        self.store.sample(run_id, id).await
    }

    async fn samples(&self, run_id: &str, step: Option<u64>, page: &Page) -> Result<Listing<SampleRecord>> {
        self.seen_run(run_id).await?;
        self.store.samples(run_id, step, page).await
    }

    async fn sample_steps(&self, run_id: &str) -> Result<Vec<SampleStep>> {
        self.seen_run(run_id).await?;
        self.store.sample_steps(run_id).await
    }
}

#[async_trait]
impl CheckpointStore for View {
    async fn checkpoint(&self, id: &str) -> Result<Checkpoint> {
        let checkpoint = self.store.checkpoint(id).await?;
        self.seen(&checkpoint.project, "checkpoint", id)?;
        Ok(checkpoint)
    }

    async fn checkpoints(&self, filter: &CheckpointFilter, page: &Page) -> Result<Listing<Checkpoint>> {
        let mut filter = filter.clone();
        if !self.narrow(&mut filter.project) {
            return Ok(Listing::whole(Vec::new()));
        }
        self.store.checkpoints(&filter, page).await
    }

    async fn run_checkpoints(&self, run_id: &str) -> Result<Vec<Checkpoint>> {
        self.seen_run(run_id).await?;
        self.store.run_checkpoints(run_id).await
    }

    async fn promote_within(&self, id: &str, name: &str, project: Option<&str>) -> Result<Checkpoint> {
        self.writable_checkpoint(id).await?;
        let checkpoint = self.store.promote_within(id, name, self.within(project)).await?;
        self.did("checkpoint.promote", &checkpoint.project, id, Some(name)).await;
        Ok(checkpoint)
    }

    async fn demote(&self, id: &str) -> Result<Checkpoint> {
        self.writable_checkpoint(id).await?;
        let checkpoint = self.store.demote(id).await?;
        self.did("checkpoint.demote", &checkpoint.project, id, None).await;
        Ok(checkpoint)
    }

    async fn promotions(&self) -> Result<Vec<Checkpoint>> {
        let all = self.store.promotions().await?;
        Ok(all.into_iter().filter(|checkpoint| self.caller.sees(&checkpoint.project)).collect())
    }

    async fn promoted(&self, name: &str) -> Result<Option<Checkpoint>> {
        Ok(self.store.promoted(name).await?.filter(|checkpoint| self.caller.sees(&checkpoint.project)))
    }

    async fn delete_checkpoint(&self, id: &str, reason: &str) -> Result<Checkpoint> {
        self.writable_checkpoint(id).await?;
        let checkpoint = self.store.delete_checkpoint(id, reason).await?;
        self.did("checkpoint.delete", &checkpoint.project, id, None).await;
        Ok(checkpoint)
    }
}
