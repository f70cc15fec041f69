//! Data sets: what there is, and how a job reaches its rows.

mod area;
mod check;
mod entry;
mod hub;
mod parts;
mod preview;
mod quota;
mod recover;
mod request;
mod tokens;
mod upload;

use std::ops::Deref;
use std::sync::Arc;

use crate::data::{self, Dataset, FileDataset};
use crate::domain::dataset::{DatasetRecord, DatasetState};
use crate::domain::spec::Columns;
use crate::service::core::Core;
use crate::service::{Result, ServiceError};

pub use entry::DatasetEntry;
pub use parts::{Part, UploadedFile};
pub use preview::{PreviewImage, PreviewRow, RowsWanted};
pub(in crate::service) use recover::SILENT;
pub use request::{DatasetRequest, DatasetSource, UploadKind};
pub use upload::Upload;

/// Source of data sets that ship with the program.
const BUILT_IN: &str = "builtin";

/// Data sets. A handle that is cheap to make: everything it works with is shared.
#[derive(Clone)]
pub struct Datasets(Arc<Core>);

impl Deref for Datasets {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Core {
    pub(in crate::service) fn datasets(self: &Arc<Self>) -> Datasets {
        Datasets(Arc::clone(self))
    }
}

impl Datasets {
    /// Every data set.
    pub async fn list(&self) -> Result<Vec<DatasetRecord>> {
        Ok(self.store.datasets().await?)
    }

    /// One data set, by name or id.
    pub async fn get(&self, name_or_id: &str) -> Result<DatasetRecord> {
        Ok(self.store.dataset(name_or_id).await?)
    }

    /// Forgets a data set and removes its files. `Held` while an unfinished job uses it.
    pub async fn delete(&self, name_or_id: &str) -> Result<DatasetRecord> {
        let record = self.store.dataset(name_or_id).await?;
        if record.source == BUILT_IN {
            return Err(ServiceError::Conflict(format!(
                "data set `{}` is built in and cannot be deleted",
                record.name
            )));
        }
        if record.state == DatasetState::Uploading && area::waits_for_parts(&self.uploads_dir().join(&record.id)) {
            return self.forget_parts(&record).await;
        }
        if matches!(record.state, DatasetState::Uploading | DatasetState::Validating) {
            let state = record.state.name();
            return Err(ServiceError::Conflict(format!(
                "data set `{}` is {state}; wait until it has finished",
                record.name
            )));
        }
        let record = self.store.delete_dataset(&record.id).await?;
        self.tell_news();
        // Forgotten already, and noted: what resists is tried again.
        if let Err(error) = self.remove_files(&record.artifact_key()).await {
            tracing::warn!(dataset = %record.id, %error, "cannot remove the files of a data set");
        }
        Ok(record)
    }

    /// Opens a ready data set; its rows are read with `columns`, or with those they were checked with.
    pub(in crate::service) async fn open(
        &self,
        record: &DatasetRecord,
        columns: Option<&Columns>,
    ) -> Result<Arc<dyn Dataset>> {
        if record.source == BUILT_IN {
            return data::open(&record.name).map_err(|error| ServiceError::Internal(error.to_string()));
        }
        let (artifacts, key, columns) = (Arc::clone(self.artifacts().await?), record.artifact_key(), columns.cloned());
        let (name, train_rows, eval_rows) = (record.name.clone(), record.train_rows, record.eval_rows);
        let open = move || {
            let gone = |error: &dyn std::fmt::Display| {
                ServiceError::Conflict(format!("the files of data set `{name}` cannot be opened: {error}"))
            };
            let dir = artifacts.path(&key).map_err(|error| gone(&error))?;
            let opened = FileDataset::open(&dir, columns.as_ref());
            let opened =
                opened.and_then(|opened| opened.with_rows(train_rows, eval_rows)).map_err(|error| match error {
                    data::DataError::Changed { .. } => ServiceError::Conflict(error.to_string()),
                    other => gone(&other),
                })?;
            Ok(Arc::new(opened) as Arc<dyn Dataset>)
        };
        tokio::task::spawn_blocking(open).await.map_err(|error| ServiceError::Internal(error.to_string()))?
    }
}
