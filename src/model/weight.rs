//! The matrix of a linear map or of the token embedding, in whatever form it is held.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor, bail};

use super::error::ModelError;
use super::kernels::{self, StoredMatrix};
use super::linear::LinearShape;
use super::transfers::up;
use super::weights::WeightSource;

/// A matrix `[out, inner]`.
#[derive(Debug)]
pub enum Weight {
    /// Plain values, possibly trained.
    Dense(Tensor),
    /// As the CPU reads them from a file or from memory of their own; not trained.
    Stored(Arc<StoredMatrix>),
    /// Blocks of integers with one scale each on another device; not trained.
    Quantized(Arc<QTensor>),
}

impl Weight {
    /// `{layer}.weight` as `source` holds it.
    pub fn of(source: &dyn WeightSource, layer: &LinearShape) -> Result<Self, ModelError> {
        if let Some(weight) = source.stored(layer)? {
            return Ok(Self::Stored(weight));
        }
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
            Self::Stored(weight) => kernels::adapted_stored_linear(x, weight, bias, thin, up),
            Self::Quantized(_) => self.project(x, bias)? + kernels::linear(thin, up, None)?,
        }
    }

    /// `x @ weight^T + bias`.
    pub fn project(&self, x: &Tensor, bias: Option<&Tensor>) -> candle_core::Result<Tensor> {
        let weight = match self {
            Self::Dense(weight) => return kernels::linear(x, weight, bias),
            Self::Stored(weight) => return kernels::stored_linear(x, weight, bias),
            Self::Quantized(weight) => weight,
        };
        let y = x.to_dtype(DType::F32)?.contiguous()?.apply_op1_no_bwd(weight.as_ref())?.to_dtype(x.dtype())?;
        match bias {
            Some(bias) => y.broadcast_add(&bias.to_dtype(x.dtype())?),
            None => Ok(y),
        }
    }

    /// Rows `ids` in 32 bits, `[ids, inner]`.
    pub fn rows(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        match self {
            // [ids] rows of [out, inner]
            Self::Dense(table) => {
                table.index_select(&up("token ids", ids.to_vec(), ids.len(), table.device())?, 0)?.to_dtype(DType::F32)
            }
            Self::Stored(table) => table.rows(ids),
            Self::Quantized(_) => bail!("a quantised table has no rows to look up"),
        }
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        match self {
            Self::Dense(weight) => weight.device().clone(),
            Self::Stored(_) => Device::Cpu,
            Self::Quantized(weight) => weight.device(),
        }
    }
}
