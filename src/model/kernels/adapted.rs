//! Linear maps with a low-rank adapter.

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};

use super::Form;
use super::linear::{linear, project};
use super::product::{Matrix, shared_product};
use super::strided::{self, Guard};

/// `x @ weight^T + bias + thin @ up^T` with `x: [.., in]`, `weight: [out, in]`, `bias: [out]`, and an adapter's scaled
/// `thin: [.., rank]` and `up: [out, rank]`.
///
/// Where weight and bias are frozen, as they are under adapters, the fused form keeps its arguments and its result for
/// the backward pass, and nothing else that is as wide as the result.
pub fn adapted_linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    thin: &Tensor,
    up: &Tensor,
) -> Result<Tensor> {
    let fits = [Some(x), Some(weight), bias, Some(thin), Some(up)].into_iter().flatten().collect::<Vec<_>>();
    let frozen = !weight.track_op() && !bias.is_some_and(Tensor::track_op);
    adapted_linear_by(if frozen { Form::of(&fits) } else { Form::Composed }, x, weight, bias, thin, up)
}

/// [`adapted_linear`] in a chosen form.
pub fn adapted_linear_by(
    form: Form,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    thin: &Tensor,
    up: &Tensor,
) -> Result<Tensor> {
    if form == Form::Composed {
        return linear(x, weight, bias)? + linear(thin, up, None)?;
    }
    let mut dims = x.dims().to_vec();
    let ((out, inner), rank) = (weight.dims2()?, up.dim(1)?);
    let rows = x.elem_count() / inner.max(1);
    if let Some(last) = dims.last_mut() {
        *last = out;
    }
    let base = Adapted { weight: weight.contiguous()?, bias: bias.map(Tensor::contiguous).transpose()? };
    let (x, thin) = (x.reshape((rows, inner))?.contiguous()?, thin.reshape((rows, rank))?.contiguous()?);
    x.apply_op3(&thin, &up.contiguous()?, base)?.reshape(dims)
}

/// The frozen map that an adapter is added to.
struct Adapted {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl CustomOp3 for Adapted {
    fn name(&self) -> &'static str {
        "adapted-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        thin: &CpuStorage,
        thin_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((rows, inner), (out, own)) = (x_layout.shape().dims2()?, self.weight.dims2()?);
        let ((_, rank), (up_out, up_rank)) = (thin_layout.shape().dims2()?, up_layout.shape().dims2()?);
        if inner != own || up_out != out || up_rank != rank {
            candle_core::bail!(
                "an adapter [{up_out}, {up_rank}] does not fit a weight [{out}, {own}] and {rank} values"
            )
        }
        let bias = self.bias.as_ref().map(Guard::of);
        let bias = bias.as_ref().map(Guard::values).transpose()?;
        if let Some(bias) = bias
            && bias.len() != out
        {
            candle_core::bail!("a bias of {} values does not fit {out} outputs", bias.len())
        }
        let weight = Guard::of(&self.weight);
        let mut values = project(strided::contiguous(x, x_layout)?, weight.values()?, (rows, inner, out), bias);
        let thin = Matrix::new(strided::contiguous(thin, thin_layout)?, rows, rank, rank);
        let up = Matrix::new(strided::contiguous(up, up_layout)?, out, rank, rank);
        shared_product(&mut values, out, true, thin, up.t());
        Ok((CpuStorage::F32(values), (rows, out).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        thin: &Tensor,
        up: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (rows, out) = gradient.dims2()?;
        let (inner, rank) = (x.dim(1)?, thin.dim(1)?);
        let guards = [&self.weight, thin, up, &gradient].map(Guard::of);
        let above = Matrix::new(guards[3].values()?, rows, out, out);
        let product = |count: usize, width: usize, left: Matrix<'_>, right: Matrix<'_>| {
            let mut values = vec![0.0; count * width];
            shared_product(&mut values, width, false, left, right);
            // [rows of the argument, its width]
            Tensor::from_vec(values, (count, width), &Device::Cpu)
        };
        let weight = Matrix::new(guards[0].values()?, out, inner, inner);
        let (thin_values, up_values) = (guards[1].values()?, guards[2].values()?);
        let of_x = || product(rows, inner, above, weight);
        let of_thin = || product(rows, rank, above, Matrix::new(up_values, out, rank, rank));
        let of_up = || product(out, rank, above.t(), Matrix::new(thin_values, rows, rank, rank));
        Ok((
            x.track_op().then(of_x).transpose()?,
            thin.track_op().then(of_thin).transpose()?,
            up.track_op().then(of_up).transpose()?,
        ))
    }
}
