//! Data sets on their way in whose server is gone: they become invalid. Those of a living server are left alone, and
//! nothing is removed from the artifact store.

use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;

use super::area::{is_abandoned, waits_for_parts};
use crate::clock::Stopwatch;
use crate::domain::dataset::{DatasetRecord, DatasetReport, DatasetState, NewDataset, RowFault};
use crate::service::datasets::Datasets;
use crate::service::{Result, ServiceError};
use crate::store::{DatasetHolder, StoreError};

/// A server beats every few seconds; one that has not for so long, by the watch of the one that looks, is gone.
pub(in crate::service) const SILENT: Duration = Duration::from_mins(1);
/// What waits in the folder of a server that is gone waits so long for its return.
const RETURN: TimeDelta = TimeDelta::days(1);

impl Datasets {
    /// At a start: ends what servers that died have left, and removes their folders below this server's data folder.
    pub async fn recover(&self) -> Result<()> {
        self.recover_of(SILENT).await?;
        let uploads = self.uploads_dir();
        let swept = tokio::task::spawn_blocking(move || sweep(&uploads)).await;
        swept.map_err(|error| ServiceError::Internal(error.to_string()))
    }

    /// Ends the data sets of servers that were silent for so long.
    pub async fn recover_of(&self, silent: Duration) -> Result<()> {
        for holder in self.database.dataset_holders().await? {
            let record = match self.store.dataset(&holder.dataset_id).await {
                Ok(record) => record,
                Err(StoreError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if !self.is_lost(&record, &holder, silent).await? {
                continue;
            }
            match self.store.update_dataset(&record.id, &broken_off(&record, stopped(&record))).await {
                Ok(_) => self.tell_news(),
                // It has come to an end in this moment.
                Err(StoreError::Conflict(_) | StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Was the work on this data set abandoned?
    async fn is_lost(&self, record: &DatasetRecord, holder: &DatasetHolder, silent: Duration) -> Result<bool> {
        let folder = self.uploads_dir().join(&record.id);
        if folder.is_dir() {
            if record.state == DatasetState::Uploading && waits_for_parts(&folder) {
                if holder.server_id.as_deref() != Some(&*self.server_id) {
                    self.database.hold_dataset(&record.id, &self.server_id).await?;
                }
                return Ok(false);
            }
            return Ok(is_abandoned(&folder));
        }
        let may_return = |since| self.clock.now() - since < RETURN;
        Ok(match &holder.server_id {
            // Its folder was there before its record.
            Some(server) if **server == *self.server_id => true,
            // A program that does not say whose it is.
            None => !may_return(record.created_at),
            Some(server) if self.silence_of(server, holder) < silent.as_secs_f64() => false,
            // Parts may be in the folder of a server that will be restarted.
            Some(_) => record.state == DatasetState::Validating || !holder.heard_at.is_some_and(may_return),
        })
    }

    /// Seconds for which this server has not been heard of, as far as this process has watched. Clocks do not matter
    /// here.
    fn silence_of(&self, server: &str, holder: &DatasetHolder) -> f64 {
        let mut heard = self.heard.lock();
        let last = heard.entry(server.to_owned()).or_insert_with(|| (holder.heard_at, Stopwatch::start()));
        if last.0 != holder.heard_at {
            *last = (holder.heard_at, Stopwatch::start());
        }
        last.1.seconds()
    }
}

/// Removes the folders of abandoned uploads.
fn sweep(uploads: &Path) {
    for entry in std::fs::read_dir(uploads).into_iter().flatten().flatten() {
        let folder = entry.path();
        if !waits_for_parts(&folder)
            && is_abandoned(&folder)
            && let Err(error) = std::fs::remove_dir_all(&folder)
        {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove an abandoned upload");
        }
    }
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
