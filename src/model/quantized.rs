//! Weights in 8 or 4 bits, for serving: the decoder's linear layers use candle's quantised products.
//!
//! Embedding, norms, biases and the vision tower are not quantised: they are a small part of the memory, and vision is
//! sensitive to rounding. Quantised models cannot be trained.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Tensor, Var};

use super::error::ModelError;
use super::features::FeatureCache;
use super::kernels;
use super::linear::LinearShape;
use super::lora::Adapter;
use super::weights::{ParameterView, Parameters, WeightSource};
use crate::domain::weights::WeightFormat;

/// The token embedding: it is looked up by row, so it is not a linear layer, though it has the shape of one.
const EMBEDDING: &str = "model.embed_tokens";

/// The weight of a linear map, in whatever form it is held.
#[derive(Debug)]
pub enum Weight {
    /// Plain values.
    Dense(Tensor),
    /// Blocks of integers with one scale each.
    Quantized(Arc<QTensor>),
}

impl Weight {
    /// `{layer}.weight` as `source` holds it.
    pub fn of(source: &dyn WeightSource, layer: &LinearShape) -> Result<Self, ModelError> {
        match source.quantized(layer)? {
            Some(weight) => Ok(Self::Quantized(weight)),
            None => source.get(&format!("{}.weight", layer.name), &[layer.out, layer.inner]).map(Self::Dense),
        }
    }

    /// `x @ weight^T + bias + thin @ up^T`.
    pub fn project_adapted(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        thin: &Tensor,
        up: &Tensor,
    ) -> candle_core::Result<Tensor> {
        match self {
            Self::Dense(weight) => kernels::adapted_linear(x, weight, bias, thin, up),
            Self::Quantized(_) => self.project(x, bias)? + kernels::linear(thin, up, None)?,
        }
    }

    /// `x @ weight^T + bias`.
    pub fn project(&self, x: &Tensor, bias: Option<&Tensor>) -> candle_core::Result<Tensor> {
        let weight = match self {
            Self::Dense(weight) => return kernels::linear(x, weight, bias),
            Self::Quantized(weight) => weight,
        };
        let y = x.to_dtype(DType::F32)?.contiguous()?.apply_op1_no_bwd(weight.as_ref())?.to_dtype(x.dtype())?;
        match bias {
            Some(bias) => y.broadcast_add(&bias.to_dtype(x.dtype())?),
            None => Ok(y),
        }
    }
}

/// A detached view of parameters that quantises the decoder's linear layers while a model is built on it.
pub struct QuantizedView<'a> {
    parameters: ParameterView<'a>,
    format: GgmlDType,
}

impl<'a> QuantizedView<'a> {
    /// None for the native format, which needs no such view.
    pub fn new(parameters: ParameterView<'a>, format: WeightFormat) -> Option<Self> {
        Some(Self { parameters, format: ggml(format)? })
    }
}

/// Bytes of all parameters when they are served in `format`.
pub fn held_bytes(parameters: &Parameters, format: WeightFormat) -> usize {
    let held = |(name, var): (&String, &Var)| {
        let usual = var.elem_count() * var.dtype().size_in_bytes();
        let layer = name.strip_suffix(".weight").zip(var.dims2().ok());
        let layer = layer.map(|(name, (out, inner))| LinearShape { name: name.to_owned(), out, inner });
        match (ggml(format), layer) {
            (Some(format), Some(layer)) if layer.name != EMBEDDING && quantizes(format, &layer) => {
                var.elem_count() / format.block_size() * format.type_size()
            }
            _ => usual,
        }
    };
    parameters.vars().iter().map(held).sum()
}

/// A layer whose rows do not divide into whole blocks is not quantised.
fn quantizes(format: GgmlDType, layer: &LinearShape) -> bool {
    !layer.is_vision() && layer.inner.is_multiple_of(format.block_size())
}

fn ggml(format: WeightFormat) -> Option<GgmlDType> {
    match format {
        WeightFormat::Native => None,
        WeightFormat::Q8 => Some(GgmlDType::Q8_0),
        WeightFormat::Q4 => Some(GgmlDType::Q4_0),
    }
}

impl WeightSource for QuantizedView<'_> {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.parameters.get(name, shape)
    }

    fn adapter(&self, layer: &LinearShape) -> Option<Adapter> {
        self.parameters.adapter(layer)
    }

    fn feature_cache(&self) -> Option<Arc<FeatureCache>> {
        self.parameters.feature_cache()
    }

    fn quantized(&self, layer: &LinearShape) -> Result<Option<Arc<QTensor>>, ModelError> {
        if !quantizes(self.format, layer) {
            return Ok(None);
        }
        let weight = self.parameters.get(&format!("{}.weight", layer.name), &[layer.out, layer.inner])?;
        Ok(Some(Arc::new(QTensor::quantize(&weight, self.format)?)))
    }
}
