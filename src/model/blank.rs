//! New models: a configuration and random weights.

use std::path::Path;

use candle_core::Device;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::ModelError;
use super::family::Folder;
use super::load::family_of;
use super::sampler::{stream, uniform};
use super::weights::Initializer;

/// Standard deviation of weights, times the root of their inputs.
const GAIN: f64 = 0.7;
/// Standard deviation of the patch embedding.
const PATCH_STD: f64 = 0.02;

/// What weights start as unless the family says otherwise: normally distributed, norms at 1 and biases at 0. Each
/// tensor has its own random stream.
fn initial(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let count: usize = shape.iter().product();
    if name.rsplit('.').next() == Some("bias") {
        return vec![0.0; count];
    }
    if shape.len() == 1 {
        return vec![1.0; count];
    }
    let fan_in: usize = shape[1..].iter().product();
    let std = if name.contains("patch_embed") { PATCH_STD } else { GAIN / (fan_in as f64).sqrt() };
    let digest = Sha256::digest(name.as_bytes());
    let id = digest.iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
    let mut rng = stream(&[seed, id]);
    let mut normal = || {
        let (u, v) = (1.0 - uniform(&mut rng), uniform(&mut rng));
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    (0..count).map(|_| (normal() * std) as f32).collect()
}

/// Writes `config.json` and the weights of a new model of any family into the folder `dir`, which must exist; equal
/// seeds give equal weights.
pub fn write_blank(dir: &Path, config: &Value, seed: u64, max_shard_bytes: u64) -> Result<(), ModelError> {
    let config_path = dir.join("config.json");
    let text = format!("{config:#}\n");
    std::fs::write(&config_path, text)
        .map_err(|source| ModelError::File { path: config_path.display().to_string(), source })?;
    let family = family_of(&config_path, config)?;
    let initializer = Initializer::new(Device::Cpu, |name, shape| {
        (family.fresh)(name, shape.iter().product()).unwrap_or_else(|| initial(seed, name, shape))
    });
    Folder { config_path: &config_path, config, generation: None, family }.visit(&initializer)?;
    initializer.into_parameters().save(dir, max_shard_bytes)
}
