//! Linear maps with a low-rank adapter.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};

use super::linear::{linear, project};
use super::product::{Matrix, shared_product};
use super::strided::{self, Guard};
use super::{Form, StoredMatrix, stored_linear};

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
    let base = Adapted { weight: Base::Dense(weight.contiguous()?), bias: bias.map(Tensor::contiguous).transpose()? };
    apply(base, x, thin, up)
}

/// [`adapted_linear`] on a stored weight; the bias is frozen too.
///
/// # Errors
/// Shapes that do not fit; tensors that are not 32-bit floats on the CPU.
pub fn adapted_stored_linear(
    x: &Tensor,
    weight: &Arc<StoredMatrix>,
    bias: Option<&Tensor>,
    thin: &Tensor,
    up: &Tensor,
) -> Result<Tensor> {
    let bias = bias.map(|bias| bias.detach().contiguous()).transpose()?;
    apply(Adapted { weight: Base::Stored(Arc::clone(weight)), bias }, x, thin, up)
}

fn apply(base: Adapted, x: &Tensor, thin: &Tensor, up: &Tensor) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let ([out, inner], rank) = (base.weight.dims()?, up.dim(1)?);
    let rows = x.elem_count() / inner.max(1);
    if let Some(last) = dims.last_mut() {
        *last = out;
    }
    let (x, thin) = (x.reshape((rows, inner))?.contiguous()?, thin.reshape((rows, rank))?.contiguous()?);
    x.apply_op3(&thin, &up.contiguous()?, base)?.reshape(dims)
}

/// A frozen weight.
enum Base {
    Dense(Tensor),
    Stored(Arc<StoredMatrix>),
}

impl Base {
    fn dims(&self) -> Result<[usize; 2]> {
        match self {
            Self::Dense(weight) => weight.dims2().map(|(out, inner)| [out, inner]),
            Self::Stored(weight) => Ok(weight.dims()),
        }
    }

    /// `x [rows, inner] @ weight^T + bias`.
    fn project(&self, x: &[f32], bias: Option<&[f32]>) -> Result<Vec<f32>> {
        let [out, inner] = self.dims()?;
        match self {
            Self::Dense(weight) => {
                Ok(project(x, Guard::of(weight).values()?, (x.len() / inner.max(1), inner, out), bias))
            }
            Self::Stored(weight) => Ok(stored_linear::project(x, weight, bias)),
        }
    }

    /// `above [rows, out] @ weight`.
    fn backward(&self, above: &[f32]) -> Result<Vec<f32>> {
        let [out, inner] = self.dims()?;
        match self {
            Self::Dense(weight) => {
                let rows = above.len() / out.max(1);
                let mut values = vec![0.0; rows * inner];
                let guard = Guard::of(weight);
                let (above, weight) =
                    (Matrix::new(above, rows, out, out), Matrix::new(guard.values()?, out, inner, inner));
                shared_product(&mut values, inner, false, above, weight);
                Ok(values)
            }
            Self::Stored(weight) => Ok(stored_linear::backward(above, weight)),
        }
    }
}

/// The frozen map that an adapter is added to.
struct Adapted {
    weight: Base,
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
        let ((rows, inner), [out, own]) = (x_layout.shape().dims2()?, self.weight.dims()?);
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
        let mut values = self.weight.project(strided::contiguous(x, x_layout)?, bias)?;
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
        let guards = [thin, up, &gradient].map(Guard::of);
        let above_values = guards[2].values()?;
        let above = Matrix::new(above_values, rows, out, out);
        let product = |count: usize, width: usize, left: Matrix<'_>, right: Matrix<'_>| {
            let mut values = vec![0.0; count * width];
            shared_product(&mut values, width, false, left, right);
            // [rows of the argument, its width]
            Tensor::from_vec(values, (count, width), &Device::Cpu)
        };
        let (thin_values, up_values) = (guards[0].values()?, guards[1].values()?);
        // [rows, in]
        let of_x = || Tensor::from_vec(self.weight.backward(above_values)?, (rows, inner), &Device::Cpu);
        let of_thin = || product(rows, rank, above, Matrix::new(up_values, out, rank, rank));
        let of_up = || product(out, rank, above.t(), Matrix::new(thin_values, rows, rank, rank));
        Ok((
            x.track_op().then(of_x).transpose()?,
            thin.track_op().then(of_thin).transpose()?,
            up.track_op().then(of_up).transpose()?,
        ))
    }
}
