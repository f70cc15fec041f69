//! From a Hugging Face folder to a model. The families are registered here, one line each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device};
use serde_json::Value;

use super::files::{Declared, WeightPlan, declared_format};
use super::footprint::Footprint;
use super::linear::LinearShape;
use super::lora::{Adapters, LoraConfig, select};
use super::quantized::QuantizedView;
use super::qwen_vl::{self, QwenVl};
use super::weights::{Parameters, View, WeightSource};
use super::{ModelError, ModelInfo, VisionLanguageModel};
use crate::domain::weights::WeightFormat;

/// A family: how a folder of its `model_type` is described and built.
pub(super) struct Family {
    model_type: &'static str,
    info: fn(&Folder<'_>, usize) -> Result<ModelInfo, ModelError>,
    build: Build,
    footprint: fn(&Folder<'_>) -> Result<Box<dyn Footprint>, ModelError>,
}

/// A family's constructor: configuration, number of parameters, weights, device.
type Build = fn(&Folder<'_>, usize, &dyn WeightSource, &Device) -> Result<Arc<dyn VisionLanguageModel>, ModelError>;

/// The families by `model_type`.
const FAMILIES: &[Family] = &[
    Family { model_type: "qwen2_vl", info: qwen_vl_info, build: build_qwen_vl, footprint: qwen_vl_footprint },
    Family { model_type: "qwen2_5_vl", info: qwen_vl_info, build: build_qwen_vl, footprint: qwen_vl_footprint },
    Family { model_type: "qwen3_vl", info: qwen_vl_info, build: build_qwen_vl, footprint: qwen_vl_footprint },
];

/// The configuration files of a model folder.
pub(super) struct Folder<'a> {
    pub(super) config_path: &'a Path,
    pub(super) config: &'a Value,
    pub(super) generation: Option<&'a Value>,
}

/// The same, with what they hold.
struct Settings {
    config_path: PathBuf,
    config: Value,
    generation: Option<Value>,
}

impl Settings {
    fn read(dir: &Path) -> Result<Self, ModelError> {
        let config_path = dir.join("config.json");
        let config = read_json(&config_path)?;
        let generation_path = dir.join("generation_config.json");
        let generation = if generation_path.exists() { Some(read_json(&generation_path)?) } else { None };
        Ok(Self { config_path, config, generation })
    }

    fn folder(&self) -> Folder<'_> {
        Folder { config_path: &self.config_path, config: &self.config, generation: self.generation.as_ref() }
    }
}

/// Reads a folder's configuration files.
pub(super) fn with_folder<T>(
    dir: &Path,
    work: impl FnOnce(&Folder<'_>) -> Result<T, ModelError>,
) -> Result<T, ModelError> {
    work(&Settings::read(dir)?.folder())
}

impl Folder<'_> {
    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        self.config_path.parent().unwrap_or(Path::new(""))
    }

    /// What the settings say about the number format of the weights.
    pub(super) fn declared_format(&self) -> Result<Declared, ModelError> {
        declared_format(self.dir(), self.config_path, self.config)
    }

    fn family(&self) -> Result<&'static Family, ModelError> {
        let name = self.config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        FAMILIES.iter().find(|family| family.model_type == name).ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
            ModelError::Config {
                path: self.config_path.display().to_string(),
                problem: format!("`model_type` is \"{name}\", but this build runs: {}", known.join(", ")),
            }
        })
    }

    /// Facts about the configured model, which has this number of parameters.
    pub(super) fn info(&self, parameters: usize) -> Result<ModelInfo, ModelError> {
        (self.family()?.info)(self, parameters)
    }

    /// Activation memory of the model's passes.
    pub(super) fn footprint(&self) -> Result<Box<dyn Footprint>, ModelError> {
        (self.family()?.footprint)(self)
    }

    /// Asks `source` for every weight of the model, and for the adapter of every linear layer.
    pub(super) fn visit(&self, source: &dyn WeightSource) -> Result<(), ModelError> {
        (self.family()?.build)(self, 0, source, &Device::Cpu).map(drop)
    }
}

fn qwen_vl_config(folder: &Folder<'_>) -> Result<qwen_vl::Config, ModelError> {
    qwen_vl::Config::parse(folder.config_path, folder.config, folder.generation)
}

fn qwen_vl_info(folder: &Folder<'_>, parameters: usize) -> Result<ModelInfo, ModelError> {
    Ok(qwen_vl_config(folder)?.info(parameters))
}

fn qwen_vl_footprint(folder: &Folder<'_>) -> Result<Box<dyn Footprint>, ModelError> {
    Ok(Box::new(qwen_vl_config(folder)?))
}

fn build_qwen_vl(
    folder: &Folder<'_>,
    parameters: usize,
    source: &dyn WeightSource,
    device: &Device,
) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
    Ok(Arc::new(QwenVl::new(&qwen_vl_config(folder)?, parameters, source, device)?))
}

/// A model folder that has been read: its configuration and its parameters, of which several models can be built.
pub struct ModelFolder {
    dir: PathBuf,
    settings: Settings,
    linears: Vec<LinearShape>,
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
    /// Reads `config.json`, `generation_config.json` (if any) and all weights of a folder, these as 32-bit floats.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        Self::open_as(dir, device, DType::F32)
    }

    /// The same, with weights in the number format `dtype`.
    pub fn open_as(dir: &Path, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        let settings = Settings::read(dir)?;
        let build = settings.folder().family()?.build;
        let plan = WeightPlan::of(&settings.folder())?;
        for note in &plan.notes {
            tracing::info!(folder = %dir.display(), "{note}");
        }
        let parameters = Parameters::read_planned(&plan, device, dtype)?;
        Ok(Self { dir: dir.to_owned(), settings, linears: plan.linears, parameters, device: device.clone(), build })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Freezes the vision tower and its mergers: models built from now on record nothing in it.
    pub fn freeze_vision(&mut self) {
        self.parameters.freeze_vision();
    }

    /// Adds low-rank adapters to the linear layers that `config` names, and freezes everything else. Layers that are
    /// already frozen get none. Their random values depend on `seed` alone.
    pub fn add_adapters(&mut self, config: &LoraConfig, seed: u64) -> Result<(), ModelError> {
        let layers = self.parameters.trainable(self.linears.clone());
        let chosen = select(&config.targets, &layers)?;
        let adapters = Adapters::new(config.clone(), chosen, seed, &self.device)?;
        self.parameters.adapt(adapters);
        Ok(())
    }

    /// A model to be served, with its weights in `format`. Quantised weights are copies: the folder need not be kept.
    pub fn served(&self, format: WeightFormat) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
        match QuantizedView::new(self.parameters.view(View::Detached), format) {
            Some(view) => self.build_on(&view),
            None => self.model(View::Detached),
        }
    }

    /// A model over one view of the parameters; training changes all views at once.
    pub fn model(&self, view: View) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
        self.build_on(&self.parameters.view(view))
    }

    fn build_on(&self, source: &dyn WeightSource) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
        (self.build)(&self.settings.folder(), self.parameters.count(), source, &self.device)
    }
}
