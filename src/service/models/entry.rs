//! Models as the API shows them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::model::{DownloadProgress, Model, ModelState};

/// A model in `OpenAI`'s shape, with what we know beside it.
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
    /// Is it here?
    pub state: ModelState,
    /// How far its download has come, while it is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<DownloadProgress>,
    /// Why it did not come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Model family, e.g. `qwen2_5_vl`; empty until it is ready.
    pub family: String,
    /// Number of parameters; 0 until it is ready.
    pub parameters: u64,
    /// Where it came from: `builtin`, `path`, or `hf:org/name@commit`; of a checkpoint that is served under a name its id.
    pub source: String,
    /// The project it belongs to.
    pub project: String,
    /// For people: task, limits, examples.
    #[schema(value_type = Object)]
    pub card: Value,
    /// Job settings that suit the model.
    #[schema(value_type = Object)]
    pub recommended: Value,
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
            project: model.project,
            card: model.card,
            recommended: model.recommended,
        }
    }
}

/// Every model, in `OpenAI`'s shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: String,
    /// The models by name.
    pub data: Vec<ModelEntry>,
    /// Always false: the list is whole.
    pub has_more: bool,
    /// Always null.
    pub next: Option<String>,
}
