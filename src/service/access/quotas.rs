//! Limits of projects: written to the database, which hands out jobs, and reported to jobs that wait. How much it
//! may store: asked before something is stored.

use crate::config::app::ProjectLimits;
use crate::domain::access::{ANY_PROJECT, ProjectLoad, ProjectQuota};
use crate::domain::event::{JobWaiting, NewEvent, kind};
use crate::domain::job::Job;
use crate::domain::spec::DeviceClass;
use crate::service::access::Access;
use crate::service::{Result, ServiceError};

impl Access {
    /// Makes the limits of the settings those of the database, for every worker.
    pub async fn settle_quotas(&self) -> Result<()> {
        let settings = &self.settings.quotas;
        let some = |most: u32| Some(most).filter(|most| *most > 0);
        let quota = |project: &str, most: &ProjectLimits| ProjectQuota {
            project: project.to_owned(),
            running_jobs: some(most.running_jobs),
            gpus: some(most.gpus),
        };
        let mut quotas: Vec<_> = settings.projects.iter().map(|(project, most)| quota(project, most)).collect();
        let general = quota(ANY_PROJECT, &settings.general);
        if general.running_jobs.is_some() || general.gpus.is_some() {
            quotas.push(general);
        }
        Ok(self.database.set_quotas(&quotas).await?)
    }

    /// Tells of jobs that were just submitted which of them wait for others of their project.
    pub(in crate::service) async fn tell_waiting(&self, jobs: &[Job]) -> Result<()> {
        for (earlier, job) in jobs.iter().enumerate() {
            let load = self.store.project_load(&job.project).await?;
            let Some(waiting) = waits(job, &load, earlier as u64) else { continue };
            let event = NewEvent {
                kind: kind::JOB_WAITING.to_owned(),
                job_id: Some(job.id.clone()),
                run_id: Some(job.run_id.clone()),
                project: Some(job.project.clone()),
                data: serde_json::to_value(&waiting).unwrap_or_default(),
            };
            self.store.append_event(event).await?;
        }
        Ok(())
    }

    /// Bytes that a project may still store; none: any number.
    ///
    /// # Errors
    /// `Forbidden` where it has as many as it may, which names the limit and what to do.
    pub(in crate::service) async fn storage_left(&self, project: &str) -> Result<Option<u64>> {
        let most = self.settings.quotas.of(project).bytes;
        if most == 0 {
            return Ok(None);
        }
        let stored = self.store.project_bytes(project).await?;
        if stored >= most {
            return Err(over(project, stored, most));
        }
        Ok(Some(most - stored))
    }
}

/// Why nothing more of a project is stored.
pub(in crate::service) fn over(project: &str, bytes: u64, most: u64) -> ServiceError {
    ServiceError::Forbidden(format!(
        "the checkpoints and data sets of project `{project}` take {bytes} bytes; the limit is {most} \
         (max_bytes_per_project, or `bytes` of the project): delete unused checkpoints or data sets, or ask an admin \
         to raise it"
    ))
}

/// What a job with `earlier` others of its project ahead of it waits for; none if it does not wait.
fn waits(job: &Job, load: &ProjectLoad, earlier: u64) -> Option<JobWaiting> {
    let project = &job.project;
    if let Some(most) = load.most.filter(|most| load.running + earlier >= *most) {
        let running = load.running;
        let reason = format!("project `{project}` may have {most} running jobs and has {running}: this one waits");
        return Some(JobWaiting { project: project.clone(), running, most, reason });
    }
    let needs_gpu = matches!(job.device, DeviceClass::Cuda | DeviceClass::Metal);
    let most = load.most_gpus.filter(|most| needs_gpu && load.gpus + earlier >= *most)?;
    let running = load.gpus;
    let reason = format!("project `{project}` may use {most} GPUs and uses {running}: this job waits");
    Some(JobWaiting { project: project.clone(), running, most, reason })
}
