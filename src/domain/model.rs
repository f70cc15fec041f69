//! Registered models: what a job may start from and `/generate` may serve.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// File of a model folder that holds its card, the job settings it recommends and the prompt settings it was trained with.
pub const CARD_FILE: &str = "vgpo.json";

/// A registered model: a folder in Hugging Face layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// Its name, which is also its id, e.g. `starter`.
    pub name: String,
    /// Model family, e.g. `qwen2_5_vl`.
    pub family: String,
    /// Number of parameters.
    pub parameters: u64,
    /// The folder.
    pub path: String,
    /// For people: task, limits, examples.
    #[schema(value_type = Object)]
    pub card: Value,
    /// Job settings that suit the model.
    #[schema(value_type = Object)]
    pub recommended: Value,
    /// Where it came from, e.g. `builtin`.
    pub source: String,
    /// The project it belongs to.
    pub project: String,
    /// Who registered it.
    pub created_by: Option<String>,
    /// When it was first registered.
    pub created_at: DateTime<Utc>,
}

/// A model to be registered or brought up to date.
#[derive(Debug, Clone, PartialEq)]
pub struct NewModel {
    /// Its name.
    pub name: String,
    /// Model family.
    pub family: String,
    /// Number of parameters.
    pub parameters: u64,
    /// The folder.
    pub path: String,
    /// For people.
    pub card: Value,
    /// Job settings that suit the model.
    pub recommended: Value,
    /// Where it came from.
    pub source: String,
    /// The project it belongs to.
    pub project: String,
    /// Who registers it.
    pub created_by: Option<String>,
}
