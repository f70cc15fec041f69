//! The linear layer that every family is made of.

use candle_core::{Result, Tensor};

use super::error::ModelError;
use super::ops;
use super::weights::WeightSource;

/// `x @ weight^T + bias`.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
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
        let weight = source.get(&format!("{name}.weight"), &[out, inner])?;
        let bias = if bias { Some(source.get(&format!("{name}.bias"), &[out])?) } else { None };
        Ok(Self { weight, bias })
    }

    /// `x: [.., inner]` -> `[.., out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, self.bias.as_ref())
    }
}
