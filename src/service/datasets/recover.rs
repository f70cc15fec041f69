//! After a crash: nothing half-registered stays, and nothing that nobody knows.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;

use super::area::{is_abandoned, waits_for_parts};
use crate::artifacts::ArtifactError;
use crate::domain::dataset::{ARTIFACTS, DatasetRecord, DatasetReport, DatasetState, NewDataset, RowFault};
use crate::service::{Result, Service, ServiceError};

impl Service {
    /// Ends what a server that died has left: data sets on their way in become invalid, their files go. What another
    /// living server works on is left alone.
    pub async fn recover_datasets(&self) -> Result<()> {
        let uploads = self.uploads_dir();
        // The files before the records: what another server publishes meanwhile has had its record for long.
        let artifacts = Arc::clone(self.artifacts().await?);
        let listing = Arc::clone(&artifacts);
        let stored = tokio::task::spawn_blocking(move || {
            Ok::<_, ArtifactError>([listing.list(ARTIFACTS)?, listing.leftovers(ARTIFACTS)?].concat())
        });
        let stored = stored.await.map_err(|e| internal(&e))?.map_err(|e| internal(&e))?;
        let records = self.store.datasets().await?;
        let under_way = |r: &&DatasetRecord| matches!(r.state, DatasetState::Uploading | DatasetState::Validating);
        let (mut known, mut waiting) = (HashSet::new(), HashSet::new());
        for record in &records {
            let dir = uploads.join(&record.id);
            if record.state == DatasetState::Uploading && waits_for_parts(&dir) {
                waiting.insert(dir);
            } else if under_way(&record) && is_abandoned(&dir) {
                self.store.update_dataset(&record.id, &broken_off(record, stopped(record))).await?;
            } else if record.state != DatasetState::Invalid {
                known.insert(record.artifact_key());
            }
        }
        let sweep = move || {
            for entry in std::fs::read_dir(&uploads).into_iter().flatten().flatten() {
                if !waiting.contains(&entry.path())
                    && is_abandoned(&entry.path())
                    && let Err(error) = std::fs::remove_dir_all(entry.path())
                {
                    tracing::warn!(folder = %entry.path().display(), %error, "cannot remove an abandoned upload");
                }
            }
            stored.iter().filter(|key| !known.contains(*key)).try_for_each(|key| artifacts.delete(key))
        };
        let swept = tokio::task::spawn_blocking(sweep).await.map_err(|e| internal(&e))?;
        swept.map_err(|e| internal(&e))
    }
}

fn internal(error: &dyn std::fmt::Display) -> ServiceError {
    ServiceError::Internal(error.to_string())
}

fn stopped(record: &DatasetRecord) -> String {
    format!("the server stopped while the data set was {}; register it again", record.state.name())
}

/// The data set as an invalid one, with what went wrong.
pub(super) fn broken_off(record: &DatasetRecord, problem: String) -> NewDataset {
    let fault = RowFault { file: String::new(), row: None, problem };
    let mut card = record.card.clone();
    card["report"] = json!(DatasetReport { errors: vec![fault], ..DatasetReport::default() });
    NewDataset {
        name: record.name.clone(),
        state: DatasetState::Invalid,
        source: record.source.clone(),
        train_rows: 0,
        eval_rows: 0,
        fingerprint: String::new(),
        card,
        recommended: json!({}),
        project: record.project.clone(),
        created_by: record.created_by.clone(),
    }
}
