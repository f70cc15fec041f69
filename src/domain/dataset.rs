//! Registered data sets.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A data set that jobs may name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetRecord {
    /// `ds_…`.
    pub id: String,
    /// Its name, e.g. `digits`.
    pub name: String,
    /// Can it be used?
    pub state: DatasetState,
    /// Where its rows come from, e.g. `builtin`.
    pub source: String,
    /// Rows to train on.
    pub train_rows: u64,
    /// Held-out rows.
    pub eval_rows: u64,
    /// Changes whenever any row changes.
    pub fingerprint: String,
    /// For people.
    #[schema(value_type = Object)]
    pub card: Value,
    /// Job settings that suit the data set.
    #[schema(value_type = Object)]
    pub recommended: Value,
    /// The project it belongs to.
    pub project: String,
    /// Who registered it.
    pub created_by: Option<String>,
    /// When it was first registered.
    pub created_at: DateTime<Utc>,
}

/// Can a data set be used?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatasetState {
    /// Bytes are still arriving.
    Uploading,
    /// Rows are being checked.
    Validating,
    /// It can be used.
    Ready,
    /// Its rows cannot be used.
    Invalid,
}

impl DatasetState {
    /// The name used in JSON and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Validating => "validating",
            Self::Ready => "ready",
            Self::Invalid => "invalid",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Uploading, Self::Validating, Self::Ready, Self::Invalid].into_iter().find(|s| s.name() == name)
    }
}

/// A data set to be registered or brought up to date.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDataset {
    /// Its name.
    pub name: String,
    /// Can it be used?
    pub state: DatasetState,
    /// Where its rows come from.
    pub source: String,
    /// Rows to train on.
    pub train_rows: u64,
    /// Held-out rows.
    pub eval_rows: u64,
    /// Changes whenever any row changes.
    pub fingerprint: String,
    /// For people.
    pub card: Value,
    /// Job settings that suit the data set.
    pub recommended: Value,
    /// The project it belongs to.
    pub project: String,
    /// Who registers it.
    pub created_by: Option<String>,
}
