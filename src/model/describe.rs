//! Facts about a model folder without reading its weights.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::footprint::{ModelSize, ParameterCounts};
use super::linear::LinearShape;
use super::load::{Folder, read_json};
use super::lora::Adapter;
use super::weights::{VISION, WeightSource, canonical, weight_files};
use super::{ModelError, ModelInfo};

/// Longest header that a safetensors file may have.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// What [`ModelInfo`] says about the folder: its configuration, and the headers of its weight files.
pub fn describe(dir: &Path) -> Result<ModelInfo, ModelError> {
    with_folder(dir, |folder| folder.info(parameters(dir)?.all))
}

/// The same, with what the model's passes keep in memory.
pub fn size(dir: &Path) -> Result<ModelSize, ModelError> {
    with_folder(dir, |folder| {
        let (parameters, linears) = (parameters(dir)?, linear_layers(dir)?);
        Ok(ModelSize { passes: folder.footprint()?, info: folder.info(parameters.all)?, parameters, linears })
    })
}

/// Reads the folder's configuration files.
fn with_folder<T>(dir: &Path, work: impl FnOnce(&Folder<'_>) -> Result<T, ModelError>) -> Result<T, ModelError> {
    let path = dir.join("config.json");
    let config = read_json(&path)?;
    let generation_path = dir.join("generation_config.json");
    let generation = if generation_path.exists() { Some(read_json(&generation_path)?) } else { None };
    work(&Folder { config_path: &path, config: &config, generation: generation.as_ref() })
}

fn parameters(dir: &Path) -> Result<ParameterCounts, ModelError> {
    let mut counts = ParameterCounts::default();
    for file in weight_files(dir)? {
        for (name, values) in tensors(&file)? {
            counts.all += values;
            counts.largest = counts.largest.max(values);
            if canonical(&name).starts_with(VISION) {
                counts.vision += values;
            }
        }
    }
    Ok(counts)
}

/// Name and size of every linear layer of the folder's model, the output head not among them.
pub fn linear_layers(dir: &Path) -> Result<Vec<LinearShape>, ModelError> {
    let blueprint = Blueprint::default();
    with_folder(dir, |folder| folder.visit(&blueprint))?;
    Ok(blueprint.layers.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Takes note of what a constructor asks for and gives it tensors that need no memory.
#[derive(Default)]
struct Blueprint {
    layers: Mutex<Vec<LinearShape>>,
}

impl WeightSource for Blueprint {
    fn get(&self, _name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        // One value, seen through strides of zero.
        Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)?)
    }

    fn adapter(&self, layer: &LinearShape) -> Option<Adapter> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).push(layer.clone());
        None
    }
}

/// Names and numbers of values of the tensors of a safetensors file, from its header.
fn tensors(path: &Path) -> Result<Vec<(String, usize)>, ModelError> {
    let cannot = |source| ModelError::File { path: path.display().to_string(), source };
    let damaged = |problem: &str| ModelError::Config { path: path.display().to_string(), problem: problem.to_owned() };
    let mut file = File::open(path).map_err(cannot)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(cannot)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(damaged("is no safetensors file: its header is too long; copy it again"));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(cannot)?;
    let header: Value = serde_json::from_slice(&header)
        .map_err(|_| damaged("is no readable safetensors file; it may be cut short: copy it again"))?;
    let tensors = header.as_object().into_iter().flatten().filter(|(name, _)| *name != "__metadata__");
    let values = |tensor: &Value| -> Option<usize> {
        let shape = tensor.get("shape")?.as_array()?;
        shape.iter().try_fold(1_usize, |product, side| product.checked_mul(side.as_u64()? as usize))
    };
    tensors
        .map(|(name, tensor)| Some((name.clone(), values(tensor)?)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| damaged("names a tensor without a shape"))
}
