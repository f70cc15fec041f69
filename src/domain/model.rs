//! Registered models: what a job may start from and `/generate` may serve.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::repository::Repository;

/// File of a model folder that holds its card, the job settings it recommends and the prompt settings it was trained
/// with.
pub const CARD_FILE: &str = "vgpo.json";

/// Begins a [`Model::path`] that names an artifact instead of a folder.
pub const ARTIFACT: &str = "artifact:";

/// State of a model's registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// Its files are being fetched from a hub.
    Downloading,
    /// It is registered: jobs and `/generate` can use it.
    Ready,
    /// Its download or check failed; there is a reason.
    Failed,
}

/// Progress of a download.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DownloadProgress {
    /// The file that is being downloaded.
    pub file: String,
    /// Its number, from 1.
    pub number: usize,
    /// Number of files.
    pub files: usize,
    /// Bytes downloaded so far.
    pub bytes: u64,
    /// Size in bytes.
    pub size: u64,
}

/// A registered model: a folder in Hugging Face layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// Its name, which is also its id, e.g. `starter`.
    pub name: String,
    /// Model family, e.g. `qwen2_5_vl`.
    pub family: String,
    /// Number of parameters.
    pub parameters: u64,
    /// The folder; `artifact:…` names one in the store of artifacts, which every host can fetch.
    pub path: String,
    /// Model card: task, limits, examples.
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

impl Model {
    /// The artifact with its files, if it is not a folder.
    pub fn artifact_key(&self) -> Option<&str> {
        self.path.strip_prefix(ARTIFACT)
    }

    /// The hub's repository it came from, and the commit.
    pub fn repository(&self) -> Option<Repository> {
        Repository::with_scheme(&self.source)?.ok()
    }
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
    /// The folder; `artifact:…` names one in the store of artifacts, which every host can fetch.
    pub path: String,
    /// For display.
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
