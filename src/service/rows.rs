//! What evaluations answered, row by row.

use std::path::PathBuf;
use std::sync::Arc;

use crate::artifacts::{ArtifactError, ArtifactStore, finished_chunks};
use crate::domain::eval_row::{ROWS_FILE, rows_folder};
use crate::service::{Result, Service, ServiceError};

/// The method whose runs have rows.
const EVAL: &str = "eval";

impl Service {
    /// The files with the rows that an evaluation has answered so far, in order.
    pub async fn run_rows(&self, run_id: &str) -> Result<Vec<PathBuf>> {
        let run = self.store.run(run_id).await?;
        if run.method != EVAL {
            let detail =
                format!("run `{run_id}` is one of method `{}`; only those of method `{EVAL}` have rows", run.method);
            return Err(ServiceError::Conflict(detail));
        }
        let chunks = self.with_artifacts(move |artifacts| finished_chunks(artifacts, &run.id)).await?;
        Ok(chunks.into_iter().map(|chunk| chunk.join(ROWS_FILE)).collect())
    }

    /// Deletes the rows of a run that is gone.
    pub(super) async fn drop_rows(&self, run_id: &str) -> Result<()> {
        let folder = rows_folder(run_id);
        let drop = move |artifacts: &dyn ArtifactStore| {
            artifacts.list(&folder)?.iter().try_for_each(|key| artifacts.delete(key))
        };
        self.with_artifacts(drop).await
    }

    async fn with_artifacts<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn ArtifactStore) -> std::result::Result<T, ArtifactError> + Send + 'static,
    ) -> Result<T> {
        let artifacts = Arc::clone(self.artifacts().await?);
        let done = tokio::task::spawn_blocking(move || work(&*artifacts)).await;
        let done = done.map_err(|error| ServiceError::Internal(error.to_string()))?;
        done.map_err(|error| ServiceError::Unavailable(error.to_string()))
    }
}
