//! How many jobs of a project may be at work: told to the database, which hands jobs out, and to those who wait.

use crate::domain::access::{ANY_PROJECT, ProjectQuota};
use crate::domain::event::{JobWaiting, NewEvent, kind};
use crate::domain::job::Job;
use crate::service::{Result, Service};

impl Service {
    /// Makes the limits of the settings those of the database, for every worker.
    pub async fn settle_quotas(&self) -> Result<()> {
        let settings = &self.settings.quotas;
        let quota = |project: &str, most: u32| ProjectQuota {
            project: project.to_owned(),
            running_jobs: Some(most).filter(|most| *most > 0),
        };
        let mut quotas: Vec<_> = settings.projects.iter().map(|(project, most)| quota(project, *most)).collect();
        if settings.running_jobs > 0 {
            quotas.push(quota(ANY_PROJECT, settings.running_jobs));
        }
        Ok(self.store.set_quotas(&quotas).await?)
    }

    /// Tells of jobs that were just submitted which of them wait for others of their project.
    pub(in crate::service) async fn tell_waiting(&self, jobs: &[Job]) -> Result<()> {
        for (earlier, job) in jobs.iter().enumerate() {
            let load = self.store.project_load(&job.project).await?;
            let Some(most) = load.most.filter(|most| load.running + earlier as u64 >= *most) else { continue };
            let (project, running) = (job.project.clone(), load.running);
            let reason =
                format!("project `{project}` may have {most} jobs at work, and has {running}: this one waits its turn");
            let waiting = JobWaiting { project: project.clone(), running, most, reason };
            let event = NewEvent {
                kind: kind::JOB_WAITING.to_owned(),
                job_id: Some(job.id.clone()),
                run_id: Some(job.run_id.clone()),
                project: Some(project),
                data: serde_json::to_value(&waiting).unwrap_or_default(),
            };
            self.store.append_event(event).await?;
        }
        Ok(())
    }
}
