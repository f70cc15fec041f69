//! From a Hugging Face folder to a model. The families are registered here, one line each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use serde_json::Value;

use super::qwen_vl::{self, QwenVl};
use super::weights::{Parameters, View, WeightSource};
use super::{ModelError, VisionLanguageModel};

/// A family's constructor: configuration, number of parameters, weights, device.
type Build = fn(&Folder<'_>, usize, &dyn WeightSource, &Device) -> Result<Arc<dyn VisionLanguageModel>, ModelError>;

/// The families by `model_type`.
const FAMILIES: &[(&str, Build)] = &[(qwen_vl::QWEN2_5_VL, build_qwen_vl)];

struct Folder<'a> {
    config_path: &'a Path,
    config: &'a Value,
    generation: Option<&'a Value>,
}

fn build_qwen_vl(
    folder: &Folder<'_>,
    parameters: usize,
    source: &dyn WeightSource,
    device: &Device,
) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
    let config = qwen_vl::Config::parse(folder.config_path, folder.config, folder.generation)?;
    Ok(Arc::new(QwenVl::new(&config, parameters, source, device)?))
}

/// A model folder that has been read: its configuration and its parameters, of which several models can be built.
pub struct ModelFolder {
    dir: PathBuf,
    config: Value,
    generation: Option<Value>,
    parameters: Parameters,
    device: Device,
    build: Build,
}

pub(super) fn read_json(path: &Path) -> Result<Value, ModelError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ModelError::File { path: path.display().to_string(), source })?;
    serde_json::from_str(&text).map_err(|e| ModelError::Config {
        path: path.display().to_string(),
        problem: format!("is not valid JSON: {e}"),
    })
}

impl ModelFolder {
    /// Reads `config.json`, `generation_config.json` (if any) and all weights of a folder.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        let config_path = dir.join("config.json");
        let config = read_json(&config_path)?;
        let family = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let build = FAMILIES.iter().find(|(name, _)| *name == family).map(|(_, build)| *build).ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
            ModelError::Config {
                path: config_path.display().to_string(),
                problem: format!("`model_type` is \"{family}\", but this build runs: {}", known.join(", ")),
            }
        })?;
        let generation_path = dir.join("generation_config.json");
        let generation = if generation_path.exists() { Some(read_json(&generation_path)?) } else { None };
        let parameters = Parameters::read(dir, device)?;
        Ok(Self { dir: dir.to_owned(), config, generation, parameters, device: device.clone(), build })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// A model over one view of the parameters; training changes both views at once.
    pub fn model(&self, view: View) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
        let config_path = self.dir.join("config.json");
        let folder = Folder { config_path: &config_path, config: &self.config, generation: self.generation.as_ref() };
        (self.build)(&folder, self.parameters.count(), &self.parameters.view(view), &self.device)
    }
}
