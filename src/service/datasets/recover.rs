//! After a crash: nothing half-registered stays, and nothing that nobody knows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::upload::LOCK;
use crate::domain::dataset::{
    ARTIFACTS, DatasetRecord, DatasetReport, DatasetState, NewDataset, RowFault, artifact_key,
};
use crate::service::{Result, Service, ServiceError};

impl Service {
    /// Ends what a server that died has left: data sets on their way in become invalid, their files go. What another
    /// living server works on is left alone.
    pub async fn recover_datasets(&self) -> Result<()> {
        let uploads = self.uploads_dir();
        let records = self.store.datasets().await?;
        let under_way = |r: &&DatasetRecord| matches!(r.state, DatasetState::Uploading | DatasetState::Validating);
        for record in records.iter().filter(under_way).filter(|r| is_abandoned(&uploads.join(&r.id))) {
            self.store.update_dataset(&record.id, &broken_off(record)).await?;
        }
        let known: Vec<String> = records.iter().filter(|r| !is_left(r)).map(DatasetRecord::artifact_key).collect();
        let artifacts = Arc::clone(self.artifacts().await?);
        let sweep = move || {
            let mut living = Vec::new();
            for entry in std::fs::read_dir(&uploads).into_iter().flatten().flatten() {
                if !is_abandoned(&entry.path()) {
                    living.push(artifact_key(&entry.file_name().to_string_lossy()));
                } else if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                    tracing::warn!(folder = %entry.path().display(), %error, "cannot remove an abandoned upload");
                }
            }
            let stored = artifacts.list(ARTIFACTS)?;
            let orphans = stored.iter().filter(|key| !known.contains(key) && !living.contains(key));
            orphans.map(|key| artifacts.delete(key)).collect::<std::result::Result<Vec<()>, _>>()
        };
        let swept =
            tokio::task::spawn_blocking(sweep).await.map_err(|error| ServiceError::Internal(error.to_string()))?;
        swept.map(drop).map_err(|error| ServiceError::Internal(error.to_string()))
    }
}

/// Has it no published files?
fn is_left(record: &DatasetRecord) -> bool {
    record.state != DatasetState::Ready
}

/// Does nobody work in this folder?
fn is_abandoned(dir: &Path) -> bool {
    File::open(dir.join(LOCK)).map_or(true, |lock| lock.try_lock().is_ok())
}

fn broken_off(record: &DatasetRecord) -> NewDataset {
    let problem = format!("the server stopped while the data set was {}; register it again", record.state.name());
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
