//! From a Hugging Face folder to a model. The families are registered here, one line each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device};
use serde_json::Value;

use super::family::{Family, Folder};
use super::files::{WeightPlan, read_json};
use super::holding::Holding;
use super::linear::LinearShape;
use super::lora::{Adapters, LoraConfig, peft, select};
use super::quantized::QuantizedView;
use super::transfers::is_gpu;
use super::weights::{Parameters, View, WeightSource};
use super::{ModelError, VisionLanguageModel, qwen_vl, qwen3_5};
use crate::domain::weights::WeightFormat;

/// The families.
const FAMILIES: &[&[Family]] = &[
    qwen_vl::FAMILIES, // Qwen2-VL, Qwen2.5-VL, Qwen3-VL
    qwen3_5::FAMILIES, // Qwen3.5, with and without images
];

/// Every family, in the order of registration.
pub fn families() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().copied().flatten()
}

/// The family that a configuration names.
pub(super) fn family_of(config_path: &Path, config: &Value) -> Result<&'static Family, ModelError> {
    let name = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    families().find(|family| family.model_type == name).ok_or_else(|| {
        let known: Vec<&str> = families().map(|family| family.model_type).collect();
        let other = families().flat_map(|family| family.others).find(|(other, _)| *other == name);
        let name: String = name.chars().take(80).collect();
        if let Some((_, what)) = other {
            let problem = format!("`model_type` \"{name}\" {what}");
            return ModelError::Config { path: config_path.display().to_string(), problem };
        }
        ModelError::Config {
            path: config_path.display().to_string(),
            problem: format!("`model_type` is \"{name}\", but this build runs: {}", known.join(", ")),
        }
    })
}

/// What the configuration files of a folder hold.
struct Settings {
    config_path: PathBuf,
    config: Value,
    generation: Option<Value>,
    family: &'static Family,
}

impl Settings {
    fn read(dir: &Path) -> Result<Self, ModelError> {
        let config_path = dir.join("config.json");
        let config = read_json(&config_path)?;
        let generation_path = dir.join("generation_config.json");
        let generation = if generation_path.exists() { Some(read_json(&generation_path)?) } else { None };
        Ok(Self { family: family_of(&config_path, &config)?, config_path, config, generation })
    }

    fn folder(&self) -> Folder<'_> {
        let (config_path, config) = (self.config_path.as_path(), &self.config);
        Folder { config_path, config, generation: self.generation.as_ref(), family: self.family }
    }
}

/// Reads a folder's configuration files.
pub(super) fn with_folder<T>(
    dir: &Path,
    work: impl FnOnce(&Folder<'_>) -> Result<T, ModelError>,
) -> Result<T, ModelError> {
    work(&Settings::read(dir)?.folder())
}

/// A model folder that has been read: its configuration and its parameters, of which several models can be built.
pub struct ModelFolder {
    dir: PathBuf,
    settings: Settings,
    linears: Vec<LinearShape>,
    parameters: Parameters,
    device: Device,
}

impl ModelFolder {
    /// Reads `config.json`, `generation_config.json` (if any) and all weights of a folder, these as 32-bit floats.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        Self::open_as(dir, device, DType::F32)
    }

    /// The same, with weights in the number format `dtype`.
    pub fn open_as(dir: &Path, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        Self::open_with(dir, device, Holding::variables(dtype))
    }

    /// The same, with weights held as `holding` says.
    pub fn open_with(dir: &Path, device: &Device, holding: Holding) -> Result<Self, ModelError> {
        let settings = Settings::read(dir)?;
        let plan = WeightPlan::of(&settings.folder())?;
        for note in &plan.notes {
            tracing::info!(folder = %dir.display(), "{note}");
        }
        let parameters = Parameters::read_planned(&plan, device, holding)?;
        Ok(Self { dir: dir.to_owned(), settings, linears: plan.linears, parameters, device: device.clone() })
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
        let layers = self.parameters.adaptable(self.linears.clone());
        let chosen = select(&config.targets, &layers)?;
        let adapters = Adapters::new(config.clone(), self.settings.family.names, chosen, seed, &self.device)?;
        self.parameters.adapt(adapters);
        Ok(())
    }

    /// Adds the adapters in the folder `dir`, as PEFT writes them.
    pub fn load_adapter(&mut self, dir: &Path) -> Result<(), ModelError> {
        let mut config = peft::config_of(dir)?;
        // Modules have their names in transformers there.
        let names = self.settings.family.names;
        for target in &mut config.targets {
            let ours = self.linears.iter().find(|layer| names.module(&layer.name) == *target);
            if let Some(layer) = ours {
                target.clone_from(&layer.name);
            }
        }
        self.add_adapters(&config, 0)?;
        self.parameters.adapters().map_or(Ok(()), |adapters| peft::read(dir, adapters))
    }

    /// A model to be served, with its weights in `format`. Quantised weights are copies: the folder need not be kept.
    pub fn served(&self, format: WeightFormat) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
        match QuantizedView::new(self.parameters.view(View::Detached), format, !is_gpu(&self.device)) {
            Some(view) => self.build_on(&view),
            None => self.model(View::Detached),
        }
    }

    /// A model over one view of the parameters; training changes all views at once.
    pub fn model(&self, view: View) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
        self.build_on(&self.parameters.view(view))
    }

    fn build_on(&self, source: &dyn WeightSource) -> Result<Arc<dyn VisionLanguageModel>, ModelError> {
        (self.settings.family.build)(&self.settings.folder(), self.parameters.count(), source, &self.device)
    }
}
