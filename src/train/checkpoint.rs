//! A checkpoint: a Hugging Face folder that can be served as it is, plus `trainer/` with everything needed to resume.
//! Where low-rank adapters are trained, the folder's weights have them merged in, and `adapter/` holds them alone, as
//! PEFT does.

use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::domain::spec::JobSpec;
use crate::model::Parameters;
use crate::model::lora::peft::{self, BaseModel};

use super::early_stop::EarlyStopState;
use super::error::{TrainError, file_error};
use super::model_files::{ModelFiles, passing, write_json, write_model};
use super::optimizer::{AdamW, OptimizerState};
use super::step::TrainingStep;

/// Folder of the trainer's own files inside a checkpoint.
pub const TRAINER_DIR: &str = "trainer";

/// The progress of a run, besides weights and optimizer. All random streams are derived from seed and position, so the
/// position is the whole random state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// Steps done.
    pub step: u64,
    /// Position in the row order.
    pub cursor: u64,
    /// Responses so far.
    pub samples: u64,
    /// Response tokens so far.
    pub tokens: u64,
    /// The job's seed.
    pub seed: u64,
    /// The data set's fingerprint: a run cannot resume on a changed data set.
    pub dataset: String,
    /// The reward that every response has got so far, if it is the same (for the warning).
    pub constant_reward: Option<f64>,
    /// The state of early stopping.
    #[serde(default)]
    pub watch: EarlyStopState,
    /// Was the run stopped before the evaluation of this step?
    #[serde(default)]
    pub evaluation_due: bool,
}

/// Where a run's checkpoints are written, and the parts of them that no step changes.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// Files of the model.
    pub(super) files: ModelFiles,
    /// The base model that adapters name in their configuration.
    pub(super) base: BaseModel,
    /// Each checkpoint gets a folder in it.
    pub(super) work_dir: PathBuf,
    /// The step of the newest one that was handed over.
    pub(super) newest: Option<u64>,
}

impl Checkpoints {
    /// Writes a complete checkpoint and returns its folder; replaces one that a failed attempt left there.
    /// `optimizer` is the state of the whole optimizer, where the step has a part of it.
    pub(super) fn write(
        &self,
        step: &TrainingStep,
        state: &TrainerState,
        optimizer: Option<OptimizerState>,
    ) -> Result<PathBuf, TrainError> {
        let dir = self.work_dir.join(format!("step-{:08}", state.step));
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(file_error(&dir))?;
        }
        let parameters = step.policy.folder.parameters();
        let write_optimizer = |path: &Path| match optimizer {
            Some(whole) => step.optimizer.write_state(whole, path),
            None => step.optimizer.write(path),
        };
        write(&dir, &self.files, parameters, write_optimizer, state, &step.spec, &self.base)?;
        Ok(dir)
    }
}

/// Writes a complete checkpoint into `dir`, which must not exist: into a folder next to it first, then renamed.
fn write(
    dir: &Path,
    files: &ModelFiles,
    parameters: &Parameters,
    write_optimizer: impl FnOnce(&Path) -> Result<(), TrainError>,
    state: &TrainerState,
    spec: &JobSpec,
    base: &BaseModel,
) -> Result<(), TrainError> {
    let parent = dir.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(file_error(parent))?;
    let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(parent).map_err(file_error(parent))?;
    let path = partial.path();
    write_model(path, files, parameters, &spec.data)?;
    if let Some(adapters) = parameters.adapters() {
        peft::write(&path.join(peft::FOLDER), adapters, base).map_err(passing)?;
    }
    let trainer = path.join(TRAINER_DIR);
    std::fs::create_dir_all(&trainer).map_err(file_error(&trainer))?;
    write_optimizer(&trainer.join("optimizer.safetensors"))?;
    write_json(&trainer.join("state.json"), &serde_json::json!(state))?;
    write_json(&trainer.join("job.json"), &serde_json::json!(spec))?;
    sync_tree(path)?;
    let partial = partial.keep();
    std::fs::rename(&partial, dir).map_err(file_error(dir))?;
    sync(parent)
}

fn read_json(path: &Path) -> Result<serde_json::Value, TrainError> {
    let text = std::fs::read_to_string(path).map_err(file_error(path))?;
    serde_json::from_str(&text)
        .map_err(|e| TrainError::Checkpoint { path: path.display().to_string(), problem: e.to_string() })
}

fn sync(path: &Path) -> Result<(), TrainError> {
    File::open(path).and_then(|f| f.sync_all()).map_err(file_error(path))
}

fn sync_tree(dir: &Path) -> Result<(), TrainError> {
    for entry in std::fs::read_dir(dir).map_err(file_error(dir))? {
        let path: PathBuf = entry.map_err(file_error(dir))?.path();
        if path.is_dir() { sync_tree(&path)? } else { sync(&path)? }
    }
    sync(dir)
}

/// Reads the trainer's state of a checkpoint and its optimizer, for weights on `device`.
pub fn resume(
    dir: &Path,
    optimizer: &mut AdamW,
    device: &Device,
    spec: &JobSpec,
    dataset_fingerprint: &str,
) -> Result<TrainerState, TrainError> {
    let bad = |problem: String| TrainError::Checkpoint { path: dir.display().to_string(), problem };
    let trainer = dir.join(TRAINER_DIR);
    let json = read_json(&trainer.join("state.json"))?;
    let state: TrainerState = serde_json::from_value(json).map_err(|e| bad(e.to_string()))?;
    if state.dataset != dataset_fingerprint {
        return Err(bad(format!(
            "the data set `{}` has changed since this run began; restore it or start a new job",
            spec.dataset
        )));
    }
    if state.seed != spec.seed {
        return Err(bad(format!("was written with seed {}, but the job has seed {}", state.seed, spec.seed)));
    }
    optimizer.read(&trainer.join("optimizer.safetensors"), device)?;
    Ok(state)
}
