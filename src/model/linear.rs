//! The linear layer that every family is made of.

use candle_core::{Result, Tensor};

use super::error::ModelError;
use super::lora::Adapter;
use super::weight::Weight;
use super::weights::{VISION, WeightSource};

/// Name and size of a linear layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearShape {
    /// Its name, e.g. `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Width of its output.
    pub out: usize,
    /// Width of its input.
    pub inner: usize,
}

impl LinearShape {
    /// Does it belong to the vision tower or its mergers?
    pub fn is_vision(&self) -> bool {
        is_vision(&self.name)
    }
}

/// Does the layer of this name belong to the vision tower or its mergers?
pub fn is_vision(layer: &str) -> bool {
    layer.starts_with(VISION)
}

/// `x @ weight^T + bias`, plus the output of an adapter.
#[derive(Debug)]
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    adapter: Option<Adapter>,
}

impl Linear {
    /// `{name}.weight` `[out, inner]` and, where `bias`, `{name}.bias` `[out]`.
    pub fn new(
        source: &dyn WeightSource,
        name: &str,
        out: usize,
        inner: usize,
        bias: bool,
    ) -> std::result::Result<Self, ModelError> {
        let shape = LinearShape { name: name.to_owned(), out, inner };
        let weight = Weight::of(source, &shape)?;
        let bias = if bias { Some(source.get(&format!("{name}.bias"), &[out])?) } else { None };
        let adapter = source.adapter(&shape);
        Ok(Self { weight, bias, adapter })
    }

    /// `x: [.., inner]` -> `[.., out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref();
        match &self.adapter {
            Some(adapter) => self.weight.project_adapted(x, bias, &adapter.thin(x)?, adapter.up()),
            None => self.weight.project(x, bias),
        }
    }
}
