//! Weights in 8 or 4 bits: the decoder's linear layers, for serving and as a frozen base under adapters.
//!
//! Embedding, norms, biases and the vision tower are not quantised: they are a small part of the memory, and vision is
//! sensitive to rounding. On the CPU quantised weights are stored matrices, which are packed while a folder is read and
//! have an exact gradient; other devices use candle's products, which have none.

use std::sync::Arc;

use candle_core::Tensor;
use candle_core::quantized::{GgmlDType, QTensor};

use super::error::ModelError;
use super::features::FeatureCache;
use super::files::{blocks_of, of_tensor};
use super::kernels::{Number, StoredMatrix};
use super::linear::LinearShape;
use super::lora::Adapter;
use super::weights::{ParameterView, Parameters, WeightSource};
use crate::domain::weights::WeightFormat;

/// The token embedding: it is looked up by row, so it is not a linear layer, though it has the shape of one.
const EMBEDDING: &str = "model.embed_tokens";

/// A detached view of parameters that quantises the decoder's linear layers while a model is built on it.
pub struct QuantizedView<'a> {
    parameters: ParameterView<'a>,
    blocks: Number,
    cpu: bool,
}

impl<'a> QuantizedView<'a> {
    /// None for the native format, which needs no such view.
    pub fn new(parameters: ParameterView<'a>, format: WeightFormat, cpu: bool) -> Option<Self> {
        Some(Self { parameters, blocks: blocks_of(format)?, cpu })
    }
}

/// Bytes of all parameters when they are served in `format`.
pub fn held_bytes(parameters: &Parameters, format: WeightFormat) -> usize {
    let blocks = |name: &str, [out, inner]: [usize; 2]| {
        let layer = LinearShape { name: name.strip_suffix(".weight")?.to_owned(), out, inner };
        let blocks = blocks_of(format).filter(|blocks| quantizes(*blocks, &layer))?;
        Some(blocks.bytes(out * inner))
    };
    let vars = parameters.vars().iter().map(|(name, var)| {
        let usual = var.elem_count() * var.dtype().size_in_bytes();
        var.dims2().ok().and_then(|(out, inner)| blocks(name, [out, inner])).unwrap_or(usual)
    });
    let matrices = parameters.matrices().iter();
    let matrices = matrices.map(|(name, matrix)| blocks(name, matrix.dims()).unwrap_or(matrix.bytes()));
    vars.chain(matrices).sum()
}

/// A layer whose rows do not divide into whole blocks is not quantised.
pub(super) fn quantizes(blocks: Number, layer: &LinearShape) -> bool {
    layer.name != EMBEDDING && !layer.is_vision() && layer.inner.is_multiple_of(blocks.block())
}

fn ggml(blocks: Number) -> GgmlDType {
    if blocks == Number::Q4 { GgmlDType::Q4_0 } else { GgmlDType::Q8_0 }
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

    fn stored(&self, layer: &LinearShape) -> Result<Option<Arc<StoredMatrix>>, ModelError> {
        let quantizes = self.cpu && quantizes(self.blocks, layer);
        if let Some(matrix) = self.parameters.stored(layer)? {
            let packed = matrix.number().block() > 1;
            return Ok(Some(if quantizes && !packed { Arc::new(matrix.packed(self.blocks)?) } else { matrix }));
        }
        if !quantizes {
            return Ok(None);
        }
        let weight = self.parameters.get(&format!("{}.weight", layer.name), &[layer.out, layer.inner])?;
        Ok(Some(Arc::new(of_tensor(&weight)?.packed(self.blocks)?)))
    }

    fn quantized(&self, layer: &LinearShape) -> Result<Option<Arc<QTensor>>, ModelError> {
        if !quantizes(self.blocks, layer) {
            return Ok(None);
        }
        let weight = self.parameters.get(&format!("{}.weight", layer.name), &[layer.out, layer.inner])?;
        Ok(Some(Arc::new(QTensor::quantize(&weight, ggml(self.blocks))?)))
    }
}
