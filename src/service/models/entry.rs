//! Models as the API shows them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::model::{DownloadProgress, Model, ModelState};

/// A model in `OpenAI`'s format, with additional fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelEntry {
    /// Its name.
    pub id: String,
    /// Always `model`.
    pub object: String,
    /// When it was registered, in seconds since 1970.
    pub created: i64,
    /// Who owns it.
    pub owned_by: String,
    /// Is it complete?
    pub state: ModelState,
    /// Progress of its download, while it is in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<DownloadProgress>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Model family, e.g. `qwen2_5_vl`; empty until it is ready.
    pub family: String,
    /// Number of parameters; 0 until it is ready.
    pub parameters: u64,
    /// Its origin: `builtin`, `path`, or `hf:org/name@commit`; for a checkpoint that is served under a name, its id.
    pub source: String,
    /// What it was trained from, for a checkpoint that is served under a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained: Option<TrainedFrom>,
    /// The project it belongs to.
    pub project: String,
    /// Model card: task, limits, examples.
    #[schema(value_type = Object)]
    pub card: Value,
    /// Job settings that suit the model.
    #[schema(value_type = Object)]
    pub recommended: Value,
}

/// The origin of a served checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrainedFrom {
    /// The registered model that it was trained from.
    pub model: String,
    /// The run that wrote it.
    pub run_id: String,
    /// The run's name.
    pub run: String,
    /// Steps done.
    pub step: u64,
    /// Held-out accuracy at this step, if it was evaluated.
    pub accuracy: Option<f64>,
}

impl From<Model> for ModelEntry {
    fn from(model: Model) -> Self {
        Self {
            id: model.name,
            object: "model".to_owned(),
            created: model.created_at.timestamp(),
            owned_by: model.created_by.unwrap_or_else(|| "vgpo".to_owned()),
            state: ModelState::Ready,
            progress: None,
            problem: None,
            family: model.family,
            parameters: model.parameters,
            source: model.source,
            trained: None,
            project: model.project,
            card: model.card,
            recommended: model.recommended,
        }
    }
}

/// List models, in `OpenAI`'s format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: String,
    /// The models by name.
    pub data: Vec<ModelEntry>,
    /// Always false, because the list is complete.
    pub has_more: bool,
    /// Always null.
    pub next: Option<String>,
}
