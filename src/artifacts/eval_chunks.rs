//! The rows of evaluations: a folder per finished chunk, or per evaluation of a run that trains.

use std::path::PathBuf;

use crate::domain::eval_row::{chunk_key, evaluated_step, rows_folder};

use super::{ArtifactError, ArtifactStore};

/// The folders of a run's finished chunks, in order. Chunks after a missing one do not count.
///
/// # Errors
/// The store cannot be read.
pub fn finished_chunks(artifacts: &dyn ArtifactStore, run_id: &str) -> Result<Vec<PathBuf>, ArtifactError> {
    let keys = artifacts.list(&rows_folder(run_id))?;
    let in_order = keys.iter().zip(1..).take_while(|(key, chunk)| **key == chunk_key(run_id, *chunk));
    in_order.map(|(key, _)| artifacts.path(key)).collect()
}

/// The steps at which a run that trains was evaluated with its rows kept, in order.
///
/// # Errors
/// The store cannot be read.
pub fn evaluated_steps(artifacts: &dyn ArtifactStore, run_id: &str) -> Result<Vec<u64>, ArtifactError> {
    let mut steps: Vec<u64> =
        artifacts.list(&rows_folder(run_id))?.iter().filter_map(|key| evaluated_step(key)).collect();
    steps.sort_unstable();
    Ok(steps)
}
