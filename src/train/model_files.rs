//! The model's part of a checkpoint, which is also what engines on other servers get: a Hugging Face folder.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::checkpoints::MAX_SHARD_BYTES;
use crate::domain::model::CARD_FILE;
use crate::domain::spec::DataSpec;
use crate::model::files::{is_copied, without_quantization};
use crate::model::{ModelError, Parameters};

use super::error::{TrainError, file_error};

/// Writes a model folder into `dir`, adapters merged.
pub(super) fn write_model(
    dir: &Path,
    files: &ModelFiles,
    parameters: &Parameters,
    data: &DataSpec,
) -> Result<(), TrainError> {
    files.write(dir, data, parameters.number_format())?;
    parameters.save(dir, MAX_SHARD_BYTES).map_err(passing)
}

/// A file that cannot be written now may be written by another attempt.
pub(super) fn passing(error: ModelError) -> TrainError {
    match error {
        ModelError::File { path, source } => TrainError::File { path, source },
        other => other.into(),
    }
}

/// Everything of a model folder except weights and trainer state: configuration, tokenizer, template, card, licences.
/// Kept in memory, because the folder that a run resumed from may be pruned before the run ends.
#[derive(Debug)]
pub struct ModelFiles(BTreeMap<String, Vec<u8>>);

impl ModelFiles {
    /// Reads the files of a model folder.
    pub fn read(dir: &Path) -> Result<Self, TrainError> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(dir).map_err(file_error(dir))? {
            let entry = entry.map_err(file_error(dir))?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_file() && is_copied(&name) {
                files.insert(name, std::fs::read(&path).map_err(file_error(&path))?);
            }
        }
        Ok(Self(files))
    }

    fn write(&self, dir: &Path, data: &DataSpec, number_format: &str) -> Result<(), TrainError> {
        for (name, bytes) in &self.0 {
            let path = dir.join(name);
            let rewritten = if name == "config.json" { as_written(bytes, number_format) } else { None };
            std::fs::write(&path, rewritten.as_ref().unwrap_or(bytes)).map_err(file_error(&path))?;
        }
        let path = dir.join(CARD_FILE);
        write_json(&path, &self.card(&path, data)?)
    }

    /// The model card with this job's prompt settings, so that serving uses the same as training.
    fn card(&self, path: &Path, data: &DataSpec) -> Result<serde_json::Value, TrainError> {
        let bad =
            |e: serde_json::Error| TrainError::Checkpoint { path: path.display().to_string(), problem: e.to_string() };
        let mut card: serde_json::Value =
            self.0.get(CARD_FILE).map_or(Ok(serde_json::json!({})), |b| serde_json::from_slice(b)).map_err(bad)?;
        card["prompt"] = serde_json::json!({
            "system": data.system,
            "prompt_template": data.prompt_template,
            "min_pixels": data.min_pixels,
            "max_pixels": data.max_pixels,
            "enable_thinking": data.enable_thinking,
        });
        Ok(card)
    }
}

/// The configuration with the number format that the weights have now; none where nothing changes.
fn as_written(config: &[u8], number_format: &str) -> Option<Vec<u8>> {
    let mut config: serde_json::Value = serde_json::from_slice(config).ok()?;
    let mut changed = without_quantization(&mut config);
    for section in ["", "/text_config", "/vision_config"] {
        let Some(section) = config.pointer_mut(section) else { continue };
        for key in ["torch_dtype", "dtype"] {
            if let Some(named) = section.get_mut(key).filter(|named| *named != number_format) {
                *named = number_format.into();
                changed = true;
            }
        }
    }
    if config.get("torch_dtype").or(config.get("dtype")).is_none() {
        config["torch_dtype"] = number_format.into();
        changed = true;
    }
    changed.then(|| format!("{config:#}\n").into_bytes())
}

/// Writes JSON that people can read.
pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), TrainError> {
    std::fs::write(path, format!("{value:#}\n")).map_err(file_error(path))
}
