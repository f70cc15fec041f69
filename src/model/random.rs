//! New models of real size: random weights in 16 bits, made tensor by tensor while they are written, so that no more
//! than one of them is in memory.

use std::borrow::Cow;
use std::path::Path;

use half::bf16;
use rand_chacha::rand_core::RngCore;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, View};
use serde_json::Value;

use super::ModelError;
use super::blank::{start_of, stream_of, write_config};
use super::blueprint::Blueprint;
use super::family::{Folder, Start};
use super::load::family_of;
use super::sampler::stream;
use super::shards::write_shards;

/// Values that are drawn from one random stream: the share of a thread.
const DRAWN_TOGETHER: usize = 1 << 16;

/// A weight whose values are made when they are asked for.
struct Weight {
    shape: Vec<usize>,
    values: Values,
}

/// The values of a weight.
enum Values {
    /// These, 32 bits wide.
    Wide(Vec<f32>),
    /// These, in 16 bits.
    Narrow(Vec<f32>),
    /// Uniformly distributed around 0, in 16 bits.
    Drawn { seed: u64, stream: u64, deviation: f64 },
}

impl View for Weight {
    fn dtype(&self) -> Dtype {
        if matches!(self.values, Values::Wide(_)) { Dtype::F32 } else { Dtype::BF16 }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = match &self.values {
            Values::Wide(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Values::Narrow(values) => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
            Values::Drawn { seed, stream, deviation } => {
                drawn(self.shape.iter().product(), [*seed, *stream], *deviation)
            }
        };
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        let wide = matches!(self.values, Values::Wide(_));
        self.shape.iter().product::<usize>() * if wide { size_of::<f32>() } else { size_of::<bf16>() }
    }
}

/// `count` values of this standard deviation, uniformly distributed around 0. They do not depend on the number of
/// threads.
fn drawn(count: usize, [seed, id]: [u64; 2], deviation: f64) -> Vec<u8> {
    // A uniform distribution over [-1, 1) has the standard deviation 1 / sqrt(3).
    let scale = (deviation * 3_f64.sqrt() / f64::from(1 << 15)) as f32;
    let mut bytes = vec![0; count * size_of::<bf16>()];
    bytes.par_chunks_mut(DRAWN_TOGETHER * size_of::<bf16>()).enumerate().for_each(|(part, bytes)| {
        stream(&[seed, id, part as u64]).fill_bytes(bytes);
        for value in bytes.as_chunks_mut().0 {
            *value = bf16::from_f32(f32::from(i16::from_le_bytes(*value)) * scale).to_le_bytes();
        }
    });
    bytes
}

/// Writes `config.json` and the weights of a new model of any family into the folder `dir`, which must exist: in
/// bfloat16, but for those that the family keeps 32 bits wide. Equal seeds give equal files.
///
/// # Errors
/// A configuration that no family reads; files that cannot be written.
pub fn write_random(dir: &Path, config: &Value, seed: u64, max_shard_bytes: u64) -> Result<(), ModelError> {
    let config_path = write_config(dir, config)?;
    let family = family_of(&config_path, config)?;
    let blueprint = Blueprint::of(&Folder { config_path: &config_path, config, generation: None, family })?;
    let weight = |(name, shape): (String, Vec<usize>)| {
        let given = |values| if family.names.is_wide(&name) { Values::Wide(values) } else { Values::Narrow(values) };
        let values = match start_of(family, &name, &shape) {
            Start::Values(values) => given(values),
            Start::Constant(value) => given(vec![value; shape.iter().product()]),
            Start::Spread(deviation) => Values::Drawn { seed, stream: stream_of(&name), deviation },
        };
        (family.names.published_name(&name), Weight { shape, values })
    };
    write_shards(dir, blueprint.weights.into_iter().map(weight).collect(), max_shard_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_deviation_and_depend_on_seed_and_name_alone() {
        let values = |seed| -> Vec<f64> {
            let bytes = drawn(3 * DRAWN_TOGETHER + 5, [seed, 9], 0.02);
            bytes.as_chunks().0.iter().map(|value| f64::from(bf16::from_le_bytes(*value).to_f32())).collect()
        };
        let found = values(1);
        assert_eq!(found.len(), 3 * DRAWN_TOGETHER + 5);
        assert_eq!(found, values(1));
        assert_ne!(found, values(2));
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        let deviation = (found.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / found.len() as f64).sqrt();
        assert!(mean.abs() < 2e-4 && (deviation - 0.02).abs() < 2e-4, "{mean} {deviation}");
        // Streams of different parts differ.
        assert_ne!(found[..100], found[DRAWN_TOGETHER..DRAWN_TOGETHER + 100]);
    }
}
