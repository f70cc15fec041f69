//! What evaluations answered, row by row.

use std::path::PathBuf;

use crate::artifacts::finished_chunks;
use crate::domain::eval_row::ROWS_FILE;
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};

/// The method whose runs have rows.
const EVAL: &str = "eval";

impl Runs {
    /// The files with the rows that an evaluation has answered so far, in order.
    pub async fn rows(&self, run_id: &str) -> Result<Vec<PathBuf>> {
        let run = self.store.run(run_id).await?;
        if run.method != EVAL {
            let detail = format!("run `{run_id}` has method `{}`; only runs of method `{EVAL}` have rows", run.method);
            return Err(ServiceError::Conflict(detail));
        }
        let chunks = self.in_storage(move |artifacts| finished_chunks(artifacts, &run.id)).await?;
        Ok(chunks.into_iter().map(|chunk| chunk.join(ROWS_FILE)).collect())
    }
}
