//! Can the job train what it asks for, where it asks for it?

use super::warning::JobWarning;
use crate::domain::spec::{DeviceClass, JobSpec};
use crate::domain::worker::WorkerState;
use crate::model::{self, lora};
use crate::service::jobs::Jobs;
use crate::service::models::ModelSource;
use crate::service::{Result, ServiceError};

impl Jobs {
    /// Refuses targets of adapters that name no layer of the model.
    pub(super) async fn check_targets(&self, source: &ModelSource, spec: &JobSpec) -> Result<()> {
        let Some(adapters) = spec.train.lora.clone() else { return Ok(()) };
        // A checkpoint keeps its model's layers.
        let (dir, freeze_vision) = (self.models().dir(&source.base).await?, spec.train.freeze_vision);
        let check = tokio::task::spawn_blocking(move || {
            let layers =
                model::linear_layers(&dir).map_err(|error| ServiceError::field("/model", error.to_string()))?;
            let layers: Vec<_> = layers.into_iter().filter(|layer| !freeze_vision || !layer.is_vision()).collect();
            let chosen = lora::select(&adapters.targets, &layers);
            chosen.map(drop).map_err(|error| ServiceError::field("/train/lora/targets", error.to_string()))
        });
        check.await.map_err(|error| ServiceError::Internal(error.to_string()))?
    }

    /// Refuses a job of more ranks than any worker can start. Where there is no worker, one may join.
    pub(in crate::service) async fn check_ranks(&self, spec: &JobSpec) -> Result<()> {
        let wanted = spec.resources.ranks;
        let workers = self.workers().await?.into_iter().filter(|worker| worker.state.is_alive());
        match workers.map(|worker| worker.ranks).max() {
            Some(most) if wanted > most => Err(ServiceError::field(
                "/resources/ranks",
                format!(
                    "`ranks` is {wanted}, but no worker can start more than {most}: lower it, or set `ranks` and \
                     `launcher` where a worker runs (docs/scale.md)"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// A warning when no worker has the kind of device that the job waits for.
    pub(in crate::service) async fn missing_device(&self, spec: &JobSpec) -> Result<Option<JobWarning>> {
        let wanted = spec.resources.device;
        let mut workers = self
            .workers()
            .await?
            .into_iter()
            .filter(|worker| !matches!(worker.state, WorkerState::Stopped | WorkerState::Crashed));
        if wanted == DeviceClass::Any || workers.any(|worker| worker.device_class == wanted) {
            return Ok(None);
        }
        let device = serde_json::to_value(wanted).map_err(|error| ServiceError::Internal(error.to_string()))?;
        Ok(Some(JobWarning {
            code: "no_such_worker".to_owned(),
            pointer: "/resources/device".to_owned(),
            detail: format!(
                "no worker has a device of kind {device}: the job waits until one joins (`vgpo worker --device`)"
            ),
        }))
    }
}
