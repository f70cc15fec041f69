//! Linear maps.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor};

use super::super::constant;
use super::lines::Lines;
use super::mixed::{only_first, plus};
use super::product::{Matrix, shared_product};
use super::simd::{self, Kernel};
use super::strided::{self, Guard};
use super::{Form, gemv, panels};

/// `x @ weight^T + bias` with `x: [.., in]`, `weight: [out, in]`, `bias: [out]`. Only gradients of tracked
/// arguments are computed.
///
/// The product runs in the number format of the weight and comes back in that of `x`: with 16-bit weights only the
/// operands of products are rounded, sums and everything else stay in 32 bits.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let form = match bias {
        Some(bias) => Form::of(&[x, weight, bias]),
        None => Form::of(&[x, weight]),
    };
    linear_by(form, x, weight, bias)
}

/// [`linear`] in a chosen form.
pub fn linear_by(form: Form, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let (out, inner) = weight.dims2()?;
    let rows = x.elem_count() / inner.max(1);
    if let Some(last) = dims.last_mut() {
        *last = out;
    }
    let x = x.reshape((rows, inner))?;
    let y = match (form, bias) {
        (Form::Fused, Some(bias)) => x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Linear)?,
        (Form::Fused, None) => x.contiguous()?.apply_op2(&weight.contiguous()?, Linear)?,
        (Form::Composed, bias) => composed(&x, weight, bias)?,
    };
    y.reshape(dims)
}

fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let rows = x.to_dtype(weight.dtype())?;
    let y = if only_first(&rows, weight) { constant::project(&rows, weight)? } else { rows.matmul(&weight.t()?)? };
    let y = y.to_dtype(x.dtype())?;
    match bias {
        Some(bias) => plus(&y, bias),
        None => Ok(y),
    }
}

struct Linear;

/// Storage and layout of an argument.
type Argument<'a> = (&'a CpuStorage, &'a Layout);

fn forward(x: Argument<'_>, weight: Argument<'_>, bias: Option<Argument<'_>>) -> Result<(CpuStorage, Shape)> {
    let ((rows, inner), (out, own)) = (x.1.shape().dims2()?, weight.1.shape().dims2()?);
    let bias = match bias {
        Some((bias, layout)) if layout.dims() == [out] => Some(strided::contiguous(bias, layout)?),
        Some((_, layout)) => candle_core::bail!("a bias {:?} does not fit {out} outputs", layout.shape()),
        None => None,
    };
    if inner != own {
        candle_core::bail!("a weight of {own} inputs does not fit {inner} values");
    }
    let (x, weight) = (strided::contiguous(x.0, x.1)?, strided::contiguous(weight.0, weight.1)?);
    Ok((CpuStorage::F32(project(x, weight, (rows, inner, out), bias)), (rows, out).into()))
}

/// `x [rows, inner] @ weight [out, inner]^T + bias [out]`, row-major.
pub fn project(x: &[f32], weight: &[f32], (rows, inner, out): (usize, usize, usize), bias: Option<&[f32]>) -> Vec<f32> {
    if rows == 1 {
        return gemv::project_row(x, weight, bias);
    }
    if gemv::fits(rows) {
        return gemv::project(x, weight, inner, bias);
    }
    if panels::fits(rows, inner) {
        return panels::project(x, Lines::F32(weight), (rows, inner, out), bias);
    }
    let mut values = bias.map_or_else(|| vec![0.0; rows * out], |bias| bias.repeat(rows));
    let (x, weight) = (Matrix::new(x, rows, inner, inner), Matrix::new(weight, out, inner, inner));
    shared_product(&mut values, out, bias.is_some(), x, weight.t());
    values
}

struct ColumnSums<'a> {
    values: &'a [f32],
    columns: usize,
}

impl Kernel for ColumnSums<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let mut sums = vec![0.0; self.columns];
        for line in self.values.chunks_exact(self.columns) {
            sums.iter_mut().zip(line).for_each(|(sum, value)| *sum += value);
        }
        sums
    }
}

/// Gradients of the arguments that are tracked.
fn backward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, gradient: &Tensor) -> Result<[Option<Tensor>; 3]> {
    let gradient = gradient.contiguous()?;
    let ((rows, inner), out) = (x.dims2()?, weight.dim(0)?);
    let (x_values, weight_values, above_values) = (Guard::of(x), Guard::of(weight), Guard::of(&gradient));
    let above = Matrix::new(above_values.values()?, rows, out, out);
    let of_x = || -> Result<Tensor> {
        let mut values = vec![0.0; rows * inner];
        shared_product(&mut values, inner, false, above, Matrix::new(weight_values.values()?, out, inner, inner));
        // [tokens, in]
        Tensor::from_vec(values, (rows, inner), &Device::Cpu)
    };
    let of_weight = || -> Result<Tensor> {
        let mut values = vec![0.0; out * inner];
        shared_product(&mut values, inner, false, above.t(), Matrix::new(x_values.values()?, rows, inner, inner));
        // [out, in]
        Tensor::from_vec(values, (out, inner), &Device::Cpu)
    };
    let of_bias = || -> Result<Tensor> {
        let sums = simd::run(ColumnSums { values: above_values.values()?, columns: out });
        // [out]
        Tensor::from_vec(sums, out, &Device::Cpu)
    };
    Ok([
        x.track_op().then(of_x).transpose()?,
        weight.track_op().then(of_weight).transpose()?,
        bias.is_some_and(Tensor::track_op).then(of_bias).transpose()?,
    ])
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        own: &Layout,
        weight: &CpuStorage,
        other: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        forward((x, own), (weight, other), None)
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, weight, _] = backward(x, weight, None, g)?;
        Ok((x, weight))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        forward((x, x_layout), (weight, weight_layout), Some((bias, bias_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, weight, bias] = backward(x, weight, Some(bias), gradient)?;
        Ok((x, weight, bias))
    }
}
