//! The request of a registration, checked.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::model_reference::check_name;
use crate::domain::repository::Repository;
use crate::service::core::hub::repository;
use crate::service::{Result, ServiceError};

const MAX_PROJECT: usize = 100;

/// Body of `POST /v1/models`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"source": {"hub": "Qwen/Qwen2.5-VL-3B-Instruct"}}))]
pub struct ModelRequest {
    /// Its name: letters, digits, `.`, `_`, `-` and `/`. By default the hub's `org/name`, or the folder's name.
    pub name: Option<String>,
    /// Location of its files.
    pub source: ModelOrigin,
    /// The project it belongs to.
    pub project: Option<String>,
}

/// Where the files of a model are: `hub` or `path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelOrigin {
    /// A repository of the hub: `org/name`.
    pub hub: Option<String>,
    /// Its branch, tag or commit (default `main`), which is resolved to a commit when the model is registered.
    pub revision: Option<String>,
    /// A folder of the server's machine below one of `model_roots`. It is read in place.
    pub path: Option<String>,
}

/// Where the files of a model are, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Hub(Repository),
    Path(String),
}

impl ModelRequest {
    pub(super) fn origin(&self) -> Result<Origin> {
        let ModelOrigin { hub, revision, path } = &self.source;
        match (hub, path) {
            (Some(hub), None) => repository(hub, revision.as_deref()).map(Origin::Hub),
            (None, Some(_)) if revision.is_some() => {
                Err(ServiceError::field("/source/revision", "only applies to `hub`; folders have no revisions"))
            }
            (None, Some(path)) => Ok(Origin::Path(path.clone())),
            _ => Err(ServiceError::field("/source", "needs either `hub` or `path`")),
        }
    }

    /// Its name, else `fallback`.
    pub(super) fn name(&self, fallback: &str) -> Result<String> {
        if self.project.as_ref().is_some_and(|project| project.chars().count() > MAX_PROJECT) {
            return Err(ServiceError::field("/project", format!("is longer than {MAX_PROJECT} characters")));
        }
        let name = self.name.as_deref().unwrap_or(fallback);
        check_name(name).map_err(|error| ServiceError::field("/name", error.to_string()))?;
        Ok(name.to_owned())
    }
}
