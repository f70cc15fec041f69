//! A norm whose result is gated.

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};

use super::Form;
use super::norm::rms_norm_by;
use super::simd::{self, Kernel, mul_add, sigmoid};
use super::strided::{self, Guard};

/// `x * rsqrt(mean x^2 + eps) * weight * silu(gate)` over the last dimension; `x`, `gate: [.., dim]`, `weight: [dim]`.
pub fn gated_rms_norm(x: &Tensor, gate: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let weight = weight.to_dtype(x.dtype())?;
    gated_rms_norm_by(Form::of(&[x, gate, &weight]), x, gate, &weight, eps)
}

/// [`gated_rms_norm`] in a chosen form.
pub fn gated_rms_norm_by(form: Form, x: &Tensor, gate: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    match form {
        Form::Composed => rms_norm_by(form, x, weight, eps)? * gate.silu()?,
        Form::Fused => {
            let op = GatedNorm { eps: eps as f32 };
            x.contiguous()?.apply_op3(&gate.contiguous()?, &weight.contiguous()?, op)
        }
    }
}

struct GatedNorm {
    eps: f32,
}

struct Forward<'a> {
    x: &'a [f32],
    gate: &'a [f32],
    weight: &'a [f32],
    eps: f32,
}

/// The inverse root of a line's mean square.
#[inline(always)]
fn scale<const FMA: bool>(line: &[f32], eps: f32) -> f32 {
    1.0 / (simd::squares_around::<FMA>(line, 0.0) / line.len() as f32 + eps).sqrt()
}

impl Kernel for Forward<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let width = self.weight.len();
        let mut out = Vec::with_capacity(self.x.len());
        let mut scratch = vec![0.0; width];
        for (line, gate) in self.x.chunks_exact(width).zip(self.gate.chunks_exact(width)) {
            let scale = scale::<FMA>(line, self.eps);
            for (((out, x), gate), weight) in scratch.iter_mut().zip(line).zip(gate).zip(self.weight) {
                *out = x * scale * weight * (gate * sigmoid::<FMA>(*gate));
            }
            out.extend_from_slice(&scratch);
        }
        out
    }
}

struct Backward<'a> {
    inputs: Forward<'a>,
    gradient: &'a [f32],
}

impl Kernel for Backward<'_> {
    /// Gradients of `x`, `gate`, `weight`.
    type Output = [Vec<f32>; 3];

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        let Forward { x, gate, weight, eps } = self.inputs;
        let width = weight.len();
        let share = 1.0 / width as f32;
        let (mut of_x, mut of_gate) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
        let mut of_weight = vec![0.0; width];
        let (mut normed, mut to_normed, mut to_gate) = (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
        let lines = x.chunks_exact(width).zip(gate.chunks_exact(width)).zip(self.gradient.chunks_exact(width));
        for ((line, gate), gradient) in lines {
            let scale = scale::<FMA>(line, eps);
            for i in 0..width {
                let open = sigmoid::<FMA>(gate[i]);
                let silu = gate[i] * open;
                normed[i] = line[i] * scale;
                to_normed[i] = gradient[i] * weight[i] * silu;
                of_weight[i] = mul_add::<FMA>(gradient[i] * normed[i], silu, of_weight[i]);
                to_gate[i] = gradient[i] * normed[i] * weight[i] * mul_add::<FMA>(silu, 1.0 - open, open);
            }
            // The norm removes the component along the line itself.
            let along = simd::dot::<FMA>(&to_normed, &normed) * share;
            for (to_normed, normed) in to_normed.iter_mut().zip(&normed) {
                *to_normed = scale * (*to_normed - normed * along);
            }
            of_x.extend_from_slice(&to_normed);
            of_gate.extend_from_slice(&to_gate);
        }
        [of_x, of_gate, of_weight]
    }
}

impl CustomOp3 for GatedNorm {
    fn name(&self) -> &'static str {
        "gated-rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        own: &Layout,
        gate: &CpuStorage,
        gate_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = own.dims().last().copied().unwrap_or(0);
        if gate_layout.dims() != own.dims() || weight_layout.dims() != [width] {
            candle_core::bail!(
                "a gate {:?} and a weight {:?} do not fit {:?}",
                gate_layout.shape(),
                weight_layout.shape(),
                own.shape()
            );
        }
        let out = simd::run(Forward {
            x: strided::contiguous(x, own)?,
            gate: strided::contiguous(gate, gate_layout)?,
            weight: strided::contiguous(weight, weight_layout)?,
            eps: self.eps,
        });
        Ok((CpuStorage::F32(out), own.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gate: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let [of_x, of_gate, of_weight] = {
            let guards = [x, gate, weight, &gradient].map(Guard::of);
            let inputs = Forward {
                x: guards[0].values()?,
                gate: guards[1].values()?,
                weight: guards[2].values()?,
                eps: self.eps,
            };
            simd::run(Backward { inputs, gradient: guards[3].values()? })
        };
        // [shape of the input]
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu).map(Some);
        Ok((tensor(of_x, x)?, tensor(of_gate, gate)?, tensor(of_weight, weight)?))
    }
}
