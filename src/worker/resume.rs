//! Where an attempt resumes: at the newest complete checkpoint of the run; later results are discarded.

use std::sync::Arc;

use crate::artifacts::{ArtifactError, ArtifactStore, evaluated_steps, finished_chunks};
use crate::domain::checkpoint::{Checkpoint, checkpoint_folder};
use crate::domain::eval_row::evaluation_key;
use crate::domain::event::{CheckpointEvent, kind};
use crate::domain::job::LeaseToken;
use crate::store::{Database, StoreError};
use crate::train::sink::ResumePoint;

use super::sink::delete_files;

/// Why an attempt could not be prepared.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResumeError {
    /// The database failed, or the lease was lost.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The files could not be read.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// A blocking task failed.
    #[error("{0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Finds the checkpoint to resume from (damaged ones are skipped, with an event), discards later results and deletes
/// files without a record.
pub(super) async fn prepare(
    store: &dyn Database,
    artifacts: &Arc<dyn ArtifactStore>,
    token: &LeaseToken,
) -> Result<Option<ResumePoint>, ResumeError> {
    let checkpoints = store.run_checkpoints(&token.run_id).await?;
    let mut resume = None;
    for checkpoint in &checkpoints {
        match check(artifacts, checkpoint).await? {
            Ok(dir) => {
                resume = Some(ResumePoint { dir, step: checkpoint.step });
                break;
            }
            Err(problem) => {
                let data = CheckpointEvent {
                    checkpoint_id: checkpoint.id.clone(),
                    step: checkpoint.step,
                    accuracy: checkpoint.accuracy,
                    reason: Some(problem),
                };
                let data = serde_json::to_value(data).unwrap_or_default();
                store.append_job_event(token, kind::CHECKPOINT_DAMAGED, data).await?;
            }
        }
    }
    let gone = store.rewind(token, resume.as_ref().map(|r| r.step)).await?;
    let kept: Vec<String> = store.run_checkpoints(&token.run_id).await?.into_iter().map(|c| c.key).collect();
    let (artifacts, folder) = (artifacts.clone(), checkpoint_folder(&token.run_id));
    let (run_id, from) = (token.run_id.clone(), resume.as_ref().map(|point| point.step));
    tokio::task::spawn_blocking(move || {
        for checkpoint in &gone {
            delete_files(&*artifacts, checkpoint);
        }
        // Published by an attempt that died before recording them.
        let stored = [artifacts.list(&folder)?, artifacts.leftovers(&folder)?].concat();
        for key in stored.into_iter().filter(|key| !kept.contains(key)) {
            artifacts.delete(&key)?;
        }
        let steps = evaluated_steps(&*artifacts, &run_id)?.into_iter();
        for step in steps.filter(|step| from.is_none_or(|from| *step > from)) {
            artifacts.delete(&evaluation_key(&run_id, step))?;
        }
        Ok::<_, ArtifactError>(())
    })
    .await??;
    Ok(resume)
}

/// Discards results of an evaluation after its last finished chunk.
pub(super) async fn prepare_evaluation(
    store: &dyn Database,
    artifacts: &Arc<dyn ArtifactStore>,
    token: &LeaseToken,
) -> Result<(), ResumeError> {
    let (artifacts, run_id) = (artifacts.clone(), token.run_id.clone());
    let chunks = tokio::task::spawn_blocking(move || finished_chunks(&*artifacts, &run_id)).await??.len() as u64;
    store.rewind(token, (chunks > 0).then_some(chunks)).await?;
    Ok(())
}

/// The checkpoint's folder, or what is wrong with it.
async fn check(
    artifacts: &Arc<dyn ArtifactStore>,
    checkpoint: &Checkpoint,
) -> Result<Result<std::path::PathBuf, String>, tokio::task::JoinError> {
    let (artifacts, checkpoint) = (artifacts.clone(), checkpoint.clone());
    tokio::task::spawn_blocking(move || {
        artifacts
            .verify(&checkpoint.key, &checkpoint.manifest)
            .and_then(|()| artifacts.path(&checkpoint.key))
            .map_err(|e| e.to_string())
    })
    .await
}
