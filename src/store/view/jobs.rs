//! Jobs and sweeps of one caller.

use async_trait::async_trait;

use super::View;
use crate::domain::job::{Job, JobAction, JobFilter, JobUpdate, NewJob};
use crate::domain::page::{Listing, Page};
use crate::domain::run::Run;
use crate::domain::sweep::{NewSweep, Sweep, SweepFilter, SweepSettings};
use crate::store::error::Result;
use crate::store::traits::{JobStore, Once, SweepStore};

impl View {
    async fn writable_job(&self, id: &str) -> Result<()> {
        self.writable(&self.store.job(id).await?.project, "job", id)
    }

    /// May the caller submit this job? The job that it waits for must be one that they see.
    async fn may_submit(&self, job: &NewJob) -> Result<()> {
        self.may_write(&job.spec.project)?;
        match &job.spec.after {
            Some(after) => self.seen(&self.store.job(after).await?.project, "job", after),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl JobStore for View {
    async fn submit_once(&self, job: NewJob, once: Once<'_>) -> Result<(Job, Run)> {
        self.may_submit(&job).await?;
        let created_by = self.signed(job.created_by);
        let (job, run) = self.store.submit_once(NewJob { created_by, ..job }, self.once(once)).await?;
        self.did("job.create", &job.project, &job.id, None).await;
        Ok((job, run))
    }

    async fn job(&self, id: &str) -> Result<Job> {
        let job = self.store.job(id).await?;
        self.seen(&job.project, "job", id)?;
        Ok(job)
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Listing<Job>> {
        let mut filter = filter.clone();
        if !self.narrow(&mut filter.project) {
            return Ok(Listing::whole(Vec::new()));
        }
        self.store.jobs(&filter, page).await
    }

    async fn ask(&self, id: &str, action: JobAction, reason: &str) -> Result<Job> {
        self.writable_job(id).await?;
        let job = self.store.ask(id, action, reason).await?;
        let done = match action {
            JobAction::Pause => "job.pause",
            JobAction::Resume => "job.resume",
            JobAction::Cancel => "job.cancel",
            JobAction::Retry => "job.retry",
        };
        self.did(done, &job.project, id, Some(reason)).await;
        Ok(job)
    }

    async fn update_job(&self, id: &str, update: &JobUpdate) -> Result<Job> {
        self.writable_job(id).await?;
        let job = self.store.update_job(id, update).await?;
        self.did("job.update", &job.project, id, None).await;
        Ok(job)
    }

    async fn queue_depth(&self) -> Result<u64> {
        self.store.queue_depth().await
    }
}

#[async_trait]
impl SweepStore for View {
    async fn submit_sweep_once(
        &self,
        sweep: NewSweep,
        jobs: Vec<(NewJob, SweepSettings)>,
        once: Once<'_>,
    ) -> Result<(Sweep, Vec<Job>)> {
        self.may_write(&sweep.project)?;
        for (job, _) in &jobs {
            self.may_submit(job).await?;
        }
        let signed = |(job, settings): (NewJob, SweepSettings)| {
            let created_by = self.signed(job.created_by.clone());
            (NewJob { created_by, ..job }, settings)
        };
        let jobs = jobs.into_iter().map(signed).collect();
        let created_by = self.signed(sweep.created_by);
        let sweep = NewSweep { created_by, ..sweep };
        let (sweep, jobs) = self.store.submit_sweep_once(sweep, jobs, self.once(once)).await?;
        self.did("sweep.create", &sweep.project, &sweep.id, None).await;
        Ok((sweep, jobs))
    }

    async fn sweep(&self, id: &str) -> Result<Sweep> {
        let sweep = self.store.sweep(id).await?;
        self.seen(&sweep.project, "sweep", id)?;
        Ok(sweep)
    }

    async fn sweeps(&self, filter: &SweepFilter, page: &Page) -> Result<Listing<Sweep>> {
        let mut filter = filter.clone();
        if !self.narrow(&mut filter.project) {
            return Ok(Listing::whole(Vec::new()));
        }
        self.store.sweeps(&filter, page).await
    }

    async fn delete_sweep(&self, id: &str) -> Result<()> {
        let project = self.store.sweep(id).await?.project;
        self.writable(&project, "sweep", id)?;
        self.store.delete_sweep(id).await?;
        self.did("sweep.delete", &project, id, None).await;
        Ok(())
    }

    async fn sweep_runs(&self, id: &str) -> Result<Vec<Run>> {
        // An admin's sweep may vary the project itself.
        let runs = self.store.sweep_runs(id).await?;
        Ok(runs.into_iter().filter(|run| self.caller.sees(&run.project)).collect())
    }
}
