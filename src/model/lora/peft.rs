//! Adapters in the layout of Hugging Face PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Names are those of the modules in transformers (for Qwen-VL `model.language_model.*` and `model.visual.*`, since
//! 4.52), whatever the layout of the base model's files: PEFT looks adapters up by module and not by file.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::{Adapters, LoraConfig, factor_names};
use crate::model::error::ModelError;
use crate::model::files::read_json;
use crate::model::weights::write_tensors;

/// Folder of low-rank adapters inside a checkpoint.
pub const FOLDER: &str = "adapter";
/// The adapter's description.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The adapter's weights.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// The names in the file of a layer's two factors.
fn keys(adapters: &Adapters, layer: &str) -> [String; 2] {
    factor_names(&format!("base_model.model.{}", adapters.names.module(layer)))
}

/// A number as PEFT writes it: whole numbers without a decimal point.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 { json!(number as i64) } else { json!(number) }
}

/// The base model of an adapter: a repository on the hub with its commit, or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseModel {
    /// `org/name`, or a path.
    pub name: String,
    /// The commit of a repository.
    pub revision: Option<String>,
}

fn description(adapters: &Adapters, base: &BaseModel) -> Value {
    let LoraConfig { rank, alpha, .. } = adapters.config();
    let modules: Vec<String> = adapters.layers().map(|layer| adapters.names.module(layer)).collect();
    json!({
        "peft_type": "LORA",
        "task_type": null,
        "base_model_name_or_path": base.name,
        "revision": base.revision,
        "r": rank,
        "lora_alpha": whole(*alpha),
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "inference_mode": true,
        "use_rslora": false,
        "use_dora": false,
        "modules_to_save": null,
        "rank_pattern": {},
        "alpha_pattern": {},
    })
}

/// Writes adapters for the base model `base` into the folder `dir`. Equal values give equal bytes.
pub fn write(dir: &Path, adapters: &Adapters, base: &BaseModel) -> Result<(), ModelError> {
    let cannot = |path: &Path, source| ModelError::File { path: path.display().to_string(), source };
    std::fs::create_dir_all(dir).map_err(|e| cannot(dir, e))?;
    let config = dir.join(CONFIG_FILE);
    std::fs::write(&config, format!("{:#}\n", description(adapters, base))).map_err(|e| cannot(&config, e))?;
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for (layer, factors) in &adapters.layers {
        let values = [factors.a.as_detached_tensor(), factors.b.as_detached_tensor()];
        tensors.extend(keys(adapters, layer).into_iter().zip(values));
    }
    write_tensors(tensors, &dir.join(WEIGHTS_FILE))
}

/// The base model that an adapter names.
pub fn base_of(dir: &Path) -> Result<String, ModelError> {
    let config = read_json(&dir.join(CONFIG_FILE))?;
    Ok(config["base_model_name_or_path"].as_str().unwrap_or_default().to_owned())
}

/// The settings of the adapters in the folder `dir`; targets are names of modules in transformers, or endings of them.
pub fn config_of(dir: &Path) -> Result<LoraConfig, ModelError> {
    let path = dir.join(CONFIG_FILE);
    let bad = |problem: String| ModelError::Config { path: path.display().to_string(), problem };
    let config = read_json(&path)?;
    for (name, plain) in [("use_dora", json!(false)), ("use_rslora", json!(false)), ("bias", json!("none"))] {
        let given = config.get(name).filter(|given| !given.is_null());
        if given.is_some_and(|given| *given != plain) {
            return Err(bad(format!("has `{name}`, which is not supported; only plain low-rank adapters are")));
        }
    }
    let targets = config["target_modules"].as_array().into_iter().flatten();
    let targets: Vec<String> = targets.filter_map(Value::as_str).map(str::to_owned).collect();
    match (config["r"].as_u64().filter(|rank| *rank > 0), config["lora_alpha"].as_f64()) {
        (Some(rank), Some(alpha)) if !targets.is_empty() => Ok(LoraConfig { rank: rank as usize, alpha, targets }),
        _ => Err(bad("needs `r`, `lora_alpha` and a list `target_modules`".to_owned())),
    }
}

/// Loads the values that [`write`] wrote for adapters with the same settings.
pub fn read(dir: &Path, adapters: &Adapters) -> Result<(), ModelError> {
    let path = dir.join(CONFIG_FILE);
    let bad = |path: &Path, problem: String| ModelError::Config { path: path.display().to_string(), problem };
    let config = read_json(&path)?;
    let LoraConfig { rank, alpha, .. } = adapters.config();
    if config["r"].as_u64() != Some(*rank as u64) || config["lora_alpha"].as_f64() != Some(*alpha) {
        let problem = format!("is for another adapter: the job asks for rank {rank} and alpha {alpha}");
        return Err(bad(&path, problem));
    }
    let path = dir.join(WEIGHTS_FILE);
    let mut tensors =
        candle_core::safetensors::load(&path, &Device::Cpu).map_err(|error| bad(&path, error.to_string()))?;
    for (layer, factors) in &adapters.layers {
        for (key, var) in keys(adapters, layer).into_iter().zip([&factors.a, &factors.b]) {
            let value = tensors.remove(&key).ok_or_else(|| bad(&path, format!("has no `{key}`")))?;
            if value.dims() != var.dims() {
                let problem = format!("`{key}` has shape {:?}, not {:?}", value.dims(), var.dims());
                return Err(bad(&path, problem));
            }
            var.set(&value.to_dtype(var.dtype())?.to_device(var.device())?)?;
        }
    }
    if let Some(key) = tensors.keys().min() {
        return Err(bad(&path, format!("has `{key}`, which the job's targets do not name")));
    }
    Ok(())
}
