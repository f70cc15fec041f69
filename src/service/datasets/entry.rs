//! A data set as callers see it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::dataset::{DatasetRecord, DatasetReport, DatasetSettings, DatasetState};

/// A data set that jobs can use, with the report of its check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatasetEntry {
    /// `ds_…`.
    pub id: String,
    /// Its name, e.g. `digits`.
    pub name: String,
    /// Can it be used?
    pub state: DatasetState,
    /// Origin of its rows: `builtin`, `upload`, `path` (files on the server's machine), or `hf:org/name@commit`.
    pub source: String,
    /// Training rows.
    pub train_rows: u64,
    /// Held-out rows.
    pub eval_rows: u64,
    /// Changes whenever any row changes.
    pub fingerprint: String,
    /// For display.
    #[schema(value_type = Object)]
    pub card: Value,
    /// How its rows are read and split; none for generated tasks.
    pub settings: Option<DatasetSettings>,
    /// Report of the check of all rows; none before the check, and for generated tasks.
    pub report: Option<DatasetReport>,
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

impl From<DatasetRecord> for DatasetEntry {
    fn from(record: DatasetRecord) -> Self {
        let mut card = record.card;
        let mut take = |name: &str| card.as_object_mut().and_then(|card| card.remove(name)).unwrap_or_default();
        Self {
            settings: serde_json::from_value(take("settings")).unwrap_or_default(),
            report: serde_json::from_value(take("report")).unwrap_or_default(),
            card,
            id: record.id,
            name: record.name,
            state: record.state,
            source: record.source,
            train_rows: record.train_rows,
            eval_rows: record.eval_rows,
            fingerprint: record.fingerprint,
            recommended: record.recommended,
            project: record.project,
            created_by: record.created_by,
            created_at: record.created_at,
        }
    }
}
