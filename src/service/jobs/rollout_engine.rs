//! Engines on other servers: what can be known of them before a job runs. That they answer, and with which weights, its
//! worker finds out.

use crate::domain::spec::{EngineSpec, JobSpec, WeightSync};
use crate::model::{self, lora};
use crate::outbound::RolloutHosts;
use crate::service::jobs::Jobs;
use crate::service::models::ModelSource;
use crate::service::{Result, ServiceError};

impl Jobs {
    /// Refuses servers that the settings do not list, and adapters that such servers cannot apply.
    pub(super) async fn check_engine(&self, source: &ModelSource, spec: &JobSpec) -> Result<()> {
        let engine = &spec.rollout.engine;
        if engine.is_local() {
            return Ok(());
        }
        let hosts = RolloutHosts::of(&self.settings);
        for (index, url) in engine.urls.iter().flatten().enumerate() {
            let pointer = format!("/rollout/engine/urls/{index}");
            hosts.check(url).map_err(|problem| ServiceError::field(pointer, problem))?;
        }
        self.check_vision_adapters(source, spec, engine).await
    }

    async fn check_vision_adapters(&self, source: &ModelSource, spec: &JobSpec, engine: &EngineSpec) -> Result<()> {
        let Some(adapters) = spec.train.lora.clone() else { return Ok(()) };
        if engine.sync != WeightSync::Adapter || spec.train.freeze_vision {
            return Ok(());
        }
        let dir = self.models().dir(&source.base).await?;
        let check = tokio::task::spawn_blocking(move || {
            let layers =
                model::linear_layers(&dir).map_err(|error| ServiceError::field("/model", error.to_string()))?;
            let chosen = lora::select(&adapters.targets, &layers)
                .map_err(|error| ServiceError::field("/train/lora/targets", error.to_string()))?;
            Ok::<_, ServiceError>(chosen.iter().find(|layer| layer.is_vision()).map(|layer| layer.name.clone()))
        });
        let vision: Option<String> = check.await.map_err(|error| ServiceError::Internal(error.to_string()))??;
        let Some(layer) = vision else { return Ok(()) };
        let detail = format!(
            "`sync` is \"adapter\", but `train.lora.targets` name a layer of the vision tower (`{layer}`), where \
             servers apply no adapters: set `sync` to \"weights\", or `train.freeze_vision` to true"
        );
        Err(ServiceError::field("/rollout/engine/sync", detail))
    }
}
