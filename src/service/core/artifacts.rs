//! The store of artifacts, which is opened when it is first needed; its calls block, so threads of their own make them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::artifacts::{self, ArtifactError, ArtifactStore};
use crate::domain::checkpoint::CHECKPOINTS;
use crate::domain::eval_row::ROWS;
use crate::service::core::Core;
use crate::service::{Result, ServiceError};

/// A server is done with an artifact's files after this time at the latest: models are in memory then, downloads have
/// ended.
const IN_USE: Duration = Duration::from_hours(1);

impl Core {
    /// The folder of an artifact, which may have to be fetched first.
    pub(in crate::service) async fn artifact_path(
        &self,
        key: &str,
    ) -> Result<std::result::Result<PathBuf, ArtifactError>> {
        let (artifacts, key) = (Arc::clone(self.artifacts().await?), key.to_owned());
        artifacts.let_go(IN_USE);
        let path = tokio::task::spawn_blocking(move || artifacts.path(&key)).await;
        path.map_err(|error| ServiceError::Internal(error.to_string()))
    }

    pub(in crate::service) async fn artifacts(&self) -> Result<&Arc<dyn ArtifactStore>> {
        let open = async || {
            let settings = self.settings.clone();
            let opened = tokio::task::spawn_blocking(move || artifacts::open_configured(&settings)).await;
            let opened = opened.map_err(|error| ServiceError::Internal(error.to_string()))?;
            opened.map_err(|error| ServiceError::Unavailable(error.to_string()))
        };
        self.opened.get_or_try_init(open).await
    }

    /// Does something with the artifacts that blocks.
    pub(in crate::service) async fn in_storage<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn ArtifactStore) -> std::result::Result<T, ArtifactError> + Send + 'static,
    ) -> Result<T> {
        let artifacts = Arc::clone(self.artifacts().await?);
        let done = tokio::task::spawn_blocking(move || work(&*artifacts)).await;
        done.map_err(|error| ServiceError::Internal(error.to_string()))?.map_err(|error| match error {
            foreign @ ArtifactError::Foreign { .. } => ServiceError::Conflict(foreign.to_string()),
            other => ServiceError::Unavailable(other.to_string()),
        })
    }

    /// Removes the files of something that is deleted: an artifact, or all of a run.
    pub(in crate::service) async fn remove_files(&self, key: &str) -> Result<()> {
        let gone = key.to_owned();
        self.in_storage(
            move |artifacts| if is_folder(&gone) { artifacts.delete_below(&gone) } else { artifacts.delete(&gone) },
        )
        .await?;
        Ok(self.database.removed(key).await?)
    }
}

/// Is this all of a run, and no single artifact?
fn is_folder(key: &str) -> bool {
    let mut parts = key.split('/');
    matches!(parts.next(), Some(CHECKPOINTS | ROWS)) && parts.count() == 1
}
