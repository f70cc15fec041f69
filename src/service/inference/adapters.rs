//! Adapters that a server serves under names of their own, as vLLM does it: loaded and unloaded while it runs, and gone
//! when it stops.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::model_reference::check_adapter_name;
use crate::model::lora::peft;
use crate::service::inference::Inference;
use crate::service::models::if_exists;
use crate::service::{Result, ServiceError};
use crate::serving::ModelRef;

/// Body of `POST /v1/load_lora_adapter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"lora_name": "mine-1", "lora_path": "/mnt/weights/mine/1", "base_model": "starter"}))]
pub struct LoadAdapterRequest {
    /// The name under which requests ask for it.
    pub lora_name: String,
    /// A folder of the server's machine below one of `model_roots`, with `adapter_config.json` and
    /// `adapter_model.safetensors` as PEFT writes them.
    pub lora_path: String,
    /// The model that it adapts: a registered name or a checkpoint. By default the one that is named in
    /// `adapter_config.json`.
    #[serde(default)]
    pub base_model: Option<String>,
}

/// Body of `POST /v1/unload_lora_adapter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"lora_name": "mine-1"}))]
pub struct UnloadAdapterRequest {
    /// The name under which it was loaded.
    pub lora_name: String,
}

impl Inference {
    /// Serves an adapter under a name of its own. Its weights are read before the first request for it is answered.
    pub async fn load_adapter(&self, request: LoadAdapterRequest) -> Result<String> {
        let LoadAdapterRequest { lora_name: name, lora_path, base_model } = request;
        check_adapter_name(&name).map_err(|problem| ServiceError::field("/lora_name", problem.to_string()))?;
        if !self.engine.reads_folders() {
            let detail = "this server has no engine: send the request to the server whose engine shall serve it";
            return Err(ServiceError::Conflict(detail.to_owned()));
        }
        if if_exists(self.store.model(&name).await)?.is_some() || self.store.promoted(&name).await?.is_some() {
            return Err(ServiceError::field("/lora_name", format!("`{name}` is the name of a model; choose another")));
        }
        let adapter = self.models().roots().allow(&lora_path, "/lora_path")?;
        let named = peft::base_of(&adapter).map_err(|error| ServiceError::field("/lora_path", error.to_string()))?;
        let base = self.served_model(base_model.as_deref().unwrap_or(&named)).await.map_err(|error| match error {
            ServiceError::Invalid { .. } => {
                let detail = format!("the adapter's model is not served here ({error}); name it as `base_model`");
                ServiceError::field("/base_model", detail)
            }
            other => other,
        })?;
        let model = ModelRef { id: name.clone(), dir: base.dir, adapter: Some(adapter) };
        self.served_adapters.add(model)?;
        Ok(format!("Success: LoRA adapter '{name}' added successfully."))
    }

    /// Forgets an adapter, and frees its memory once its accepted requests are done.
    pub async fn unload_adapter(&self, request: UnloadAdapterRequest) -> Result<String> {
        let name = request.lora_name;
        if !self.served_adapters.remove(&name) {
            return Err(ServiceError::NotFound { kind: "adapter", id: name });
        }
        self.engine.unload(&name).await;
        Ok(format!("Success: LoRA adapter '{name}' removed successfully."))
    }
}
