//! Checkpoints: complete states of a run, stored as artifacts.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A complete checkpoint: weights in Hugging Face layout plus the trainer's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Checkpoint {
    /// `ckpt_…`; sorts by creation time.
    pub id: String,
    /// The run that wrote it.
    pub run_id: String,
    /// The project of the run.
    pub project: String,
    /// Who submitted the run's job.
    pub created_by: Option<String>,
    /// Steps done.
    pub step: u64,
    /// Its key in the artifact store.
    pub key: String,
    /// Held-out accuracy at this step, if it was evaluated.
    pub accuracy: Option<f64>,
    /// The metric for choosing the best checkpoint (`best` in the job's settings), if it was measured at this step;
    /// negated if lower is better, so that the best checkpoint has the highest score.
    pub score: Option<f64>,
    /// Is it the end of the run?
    pub last: bool,
    /// Is it the run's best one, by the metric that `best` in the job's settings names?
    pub best: bool,
    /// Its files with sizes and hashes.
    pub manifest: Manifest,
    /// The served model name that points to it.
    pub promoted_as: Option<String>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// The part of the artifact store that holds checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

/// Files below it are the trainer's own (optimizer, position, job), which are not needed to use the weights.
pub const TRAINER: &str = "trainer/";

/// Where the artifact store keeps the checkpoints of a run.
pub fn checkpoint_folder(run_id: &str) -> String {
    format!("{CHECKPOINTS}/{run_id}")
}

/// The files of a stored folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Manifest {
    /// Every file, sorted by path.
    pub files: Vec<ManifestFile>,
    /// Sum of the sizes.
    pub size_bytes: u64,
    /// SHA-256 over path, size and hash of every file: equal only for equal folders.
    pub sha256: String,
}

/// One file of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestFile {
    /// Path inside the folder, with `/` between parts.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
}

/// A checkpoint to be inserted; its files are already stored under `key`.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCheckpoint {
    /// Its id, chosen by the writer because the artifact key holds it.
    pub id: String,
    /// Steps done.
    pub step: u64,
    /// Its key in the artifact store.
    pub key: String,
    /// Held-out accuracy, if evaluated.
    pub accuracy: Option<f64>,
    /// What the best checkpoint is chosen by, more is better; none: not measured at this step.
    pub score: Option<f64>,
    /// Is it the end of the run?
    pub last: bool,
    /// Its files.
    pub manifest: Manifest,
}

/// Which checkpoints a list holds; an empty filter holds all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckpointFilter {
    /// Of this run.
    pub run_id: Option<String>,
    /// Of this project.
    pub project: Option<String>,
}
