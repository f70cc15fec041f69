//! Low-rank adapters (LoRA, arXiv 2106.09685): to a frozen linear layer `x @ W^T` they add a trained product of two
//! thin matrices, `alpha / rank * (x @ A^T) @ B^T`. As in PEFT, `A` starts random and `B` at zero, so training starts
//! from the base model.

pub mod peft;
mod targets;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use sha2::{Digest, Sha256};

pub use targets::{ALL_LINEAR, select};

use super::error::ModelError;
use super::family::Names;
use super::kernels;
use super::linear::LinearShape;
use super::sampler::{stream, uniform};

/// Stream id of the adapters' random numbers.
const LORA_STREAM: u64 = 0x6c6f_7261;

/// Settings of adapters.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank: the inner width of the two factors.
    pub rank: usize,
    /// The adapter's output is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Which layers get one; see [`select`].
    pub targets: Vec<String>,
}

impl LoraConfig {
    /// What the adapter's output is multiplied by.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

/// The adapter of one linear layer, as its forward pass sees it.
#[derive(Debug, Clone)]
pub struct Adapter {
    a: Tensor,
    b: Tensor,
    scale: f64,
}

impl Adapter {
    /// The scaled product with the first factor: `x: [.., inner]` -> `[.., rank]`.
    pub fn thin(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        kernels::linear(x, &self.a, None)? * self.scale
    }

    /// The second factor `[out, rank]`.
    pub fn up(&self) -> &Tensor {
        &self.b
    }
}

/// The two factors of an adapter: `a [rank, inner]` and `b [out, rank]`, always in 32 bits.
#[derive(Debug, Clone)]
struct Factors {
    a: Var,
    b: Var,
}

/// The adapters of a model.
#[derive(Debug, Clone)]
pub struct Adapters {
    config: LoraConfig,
    /// How the model's layers are called.
    names: &'static Names,
    layers: BTreeMap<String, Factors>,
}

/// Names of the factors of `layer` among the variables of a model.
fn factor_names(layer: &str) -> [String; 2] {
    [format!("{layer}.lora_A.weight"), format!("{layer}.lora_B.weight")]
}

impl Adapters {
    /// New adapters for `layers`. `A` is drawn from `U(-1 / sqrt(inner), 1 / sqrt(inner))` (Kaiming's uniform with
    /// slope `sqrt(5)`), each layer from its own stream; `B` is zero.
    pub fn new<'a>(
        config: LoraConfig,
        names: &'static Names,
        layers: impl IntoIterator<Item = &'a LinearShape>,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut all = BTreeMap::new();
        for layer in layers {
            let bound = 1.0 / (layer.inner as f64).sqrt();
            let digest = Sha256::digest(layer.name.as_bytes());
            let id = digest.iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
            let mut rng = stream(&[seed, LORA_STREAM, id]);
            let count = config.rank * layer.inner;
            let values: Vec<f32> = (0..count).map(|_| ((2.0 * uniform(&mut rng) - 1.0) * bound) as f32).collect();
            let factors = Factors {
                // [rank, in]
                a: Var::from_vec(values, (config.rank, layer.inner), device)?,
                // [out, rank]
                b: Var::zeros((layer.out, config.rank), candle_core::DType::F32, device)?,
            };
            all.insert(layer.name.clone(), factors);
        }
        Ok(Self { config, names, layers: all })
    }

    /// Their settings.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The layers that have one.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.layers.keys().map(String::as_str)
    }

    /// The variables by name.
    pub fn vars(&self) -> impl Iterator<Item = (String, &Var)> {
        self.layers.iter().flat_map(|(layer, factors)| factor_names(layer).into_iter().zip([&factors.a, &factors.b]))
    }

    /// The adapter of `layer`, if it has one; `tracked`: operations on it are recorded.
    pub fn of(&self, layer: &str, tracked: bool) -> Option<Adapter> {
        let factors = self.layers.get(layer)?;
        let see = |var: &Var| if tracked { var.as_tensor().clone() } else { var.as_detached_tensor() };
        Some(Adapter { a: see(&factors.a), b: see(&factors.b), scale: self.config.scale() })
    }

    /// Does `layer` have an adapter?
    pub fn has(&self, layer: &str) -> bool {
        self.layers.contains_key(layer)
    }

    /// What the adapter of `layer` adds to its weight: `alpha / rank * B @ A`, `[out, inner]` in 32 bits.
    pub fn delta(&self, layer: &str) -> Option<candle_core::Result<Tensor>> {
        let factors = self.layers.get(layer)?;
        let product = factors.b.as_detached_tensor().matmul(&factors.a.as_detached_tensor());
        Some(product.and_then(|product| product * self.config.scale()))
    }
}
