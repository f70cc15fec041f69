//! Linear maps by stored weights: the CPU reads them as narrow as they are stored, and computes in 32 bits. The result
//! is that of the widened weights up to the order of sums.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};

use super::lines::Lines;
use super::pieces::Product;
use super::product::Matrix;
use super::strided::{self, Guard};
use super::{StoredMatrix, amx, gemv, linear, panels, product};

/// `x @ weight^T + bias` with `x: [.., inner]` in 32 bits, `bias: [out]`. The weight has no gradient.
///
/// # Errors
/// Shapes that do not fit; tensors that are not 32-bit floats on the CPU.
pub fn stored_linear(x: &Tensor, weight: &Arc<StoredMatrix>, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let [out, inner] = weight.dims();
    let rows = x.elem_count() / inner.max(1);
    if let Some(last) = dims.last_mut() {
        *last = out;
    }
    let trained = bias.filter(|bias| bias.track_op());
    let frozen = bias.filter(|bias| !bias.track_op()).map(Tensor::contiguous).transpose()?;
    let map = StoredLinear { weight: Arc::clone(weight), bias: frozen };
    let y = x.reshape((rows, inner))?.contiguous()?.apply_op1(map)?;
    match trained {
        Some(bias) => y.broadcast_add(bias)?.reshape(dims),
        None => y.reshape(dims),
    }
}

/// `x [rows, inner] @ weight^T + bias [out]`, row-major.
pub(super) fn project(x: &[f32], weight: &StoredMatrix, bias: Option<&[f32]>) -> Vec<f32> {
    let [out, inner] = weight.dims();
    let shape = (x.len() / inner.max(1), inner, out);
    match weight.lines() {
        Lines::F32(values) => linear::project(x, values, shape, bias),
        lines if amx::fits(shape.0, lines) => amx::project(x, Product { rows: shape.0, inner, lines, bias }),
        lines if gemv::fits_lines(shape.0) => gemv::project_lines(x, lines, inner, bias),
        lines => panels::project(x, lines, shape, bias),
    }
}

/// The gradient of `x` from that of the outputs, `above [rows, out]`.
pub(super) fn backward(above: &[f32], weight: &StoredMatrix) -> Vec<f32> {
    let [out, inner] = weight.dims();
    let rows = above.len() / out.max(1);
    match weight.lines() {
        Lines::F32(values) => {
            let mut target = vec![0.0; rows * inner];
            let (above, values) = (Matrix::new(above, rows, out, out), Matrix::new(values, out, inner, inner));
            product::shared_product(&mut target, inner, false, above, values);
            target
        }
        lines if amx::fits_back(lines, inner) => amx::backward(above, lines, inner),
        lines => panels::backward(above, lines, (rows, inner, out)),
    }
}

struct StoredLinear {
    weight: Arc<StoredMatrix>,
    bias: Option<Tensor>,
}

impl CustomOp1 for StoredLinear {
    fn name(&self) -> &'static str {
        "stored-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((rows, inner), [out, own]) = (layout.shape().dims2()?, self.weight.dims());
        if inner != own {
            bail!("a weight of {own} inputs does not fit {inner} values")
        }
        let bias = self.bias.as_ref().map(Guard::of);
        let bias = bias.as_ref().map(Guard::values).transpose()?;
        if let Some(bias) = bias
            && bias.len() != out
        {
            bail!("a bias of {} values does not fit {out} outputs", bias.len())
        }
        Ok((CpuStorage::F32(project(strided::contiguous(x, layout)?, &self.weight, bias)), (rows, out).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let values = backward(Guard::of(&gradient).values()?, &self.weight);
        // [rows, inner]
        Ok(Some(Tensor::from_vec(values, x.dims2()?, &Device::Cpu)?))
    }
}
