//! New models: a configuration and random weights.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::ModelError;
use super::family::{Family, Folder, Start};
use super::load::family_of;
use super::sampler::{stream, uniform};
use super::weights::Initializer;

/// Standard deviation of weights, times the root of their inputs.
const GAIN: f64 = 0.7;
/// Standard deviation of the patch embedding.
const PATCH_STD: f64 = 0.02;

/// The usual standard deviation of weights that are multiplied with this many inputs.
pub(super) fn usual_spread(inputs: usize) -> f64 {
    GAIN / (inputs as f64).sqrt()
}

/// What a weight of a new model starts as: norms at 1 and biases at 0, unless the family says otherwise.
pub(super) fn start_of(family: &Family, name: &str, shape: &[usize]) -> Start {
    if let Some(start) = (family.fresh)(name, shape) {
        return start;
    }
    if name.rsplit('.').next() == Some("bias") {
        return Start::Constant(0.0);
    }
    if shape.len() == 1 {
        return Start::Constant(1.0);
    }
    Start::Spread(if name.contains("patch_embed") { PATCH_STD } else { usual_spread(shape[1..].iter().product()) })
}

/// The random stream of a weight.
pub(super) fn stream_of(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte))
}

/// The values of a new weight; random ones are normally distributed. Each weight has its own random stream.
fn initial(seed: u64, family: &Family, name: &str, shape: &[usize]) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let std = match start_of(family, name, shape) {
        Start::Values(values) => return values,
        Start::Constant(value) => return vec![value; count],
        Start::Spread(std) => std,
    };
    let mut rng = stream(&[seed, stream_of(name)]);
    let mut normal = || {
        let (u, v) = (1.0 - uniform(&mut rng), uniform(&mut rng));
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    (0..count).map(|_| (normal() * std) as f32).collect()
}

/// Writes `config.json` and returns its path.
pub(super) fn write_config(dir: &Path, config: &Value) -> Result<PathBuf, ModelError> {
    let path = dir.join("config.json");
    match std::fs::write(&path, format!("{config:#}\n")) {
        Ok(()) => Ok(path),
        Err(source) => Err(ModelError::File { path: path.display().to_string(), source }),
    }
}

/// Writes `config.json` and the weights of a new model of any family into the folder `dir`, which must exist; equal
/// seeds give equal weights. They are 32 bits wide and all in memory at once.
pub fn write_blank(dir: &Path, config: &Value, seed: u64, max_shard_bytes: u64) -> Result<(), ModelError> {
    let config_path = write_config(dir, config)?;
    let family = family_of(&config_path, config)?;
    let initializer = Initializer::new(Device::Cpu, |name, shape| initial(seed, family, name, shape));
    Folder { config_path: &config_path, config, generation: None, family }.visit(&initializer)?;
    initializer.into_parameters(family.names).save(dir, max_shard_bytes)
}
