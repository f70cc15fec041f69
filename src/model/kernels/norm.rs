//! Norms over the last dimension.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, DType, Device, Layout, Result, Shape, Tensor};

use super::mixed::{plus, times};
use super::simd::{self, Kernel, mul_add};
use super::strided::{self, Guard};
use super::{Form, threads};

/// Root-mean-square norm over the last dimension (Zhang & Sennrich, arXiv 1910.07467), scaled by `weight`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    rms_norm_by(Form::of(&[x, weight]), x, weight, eps)
}

/// [`rms_norm`] in a chosen form.
pub fn rms_norm_by(form: Form, x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if form == Form::Fused {
        return x.contiguous()?.apply_op2(&weight.contiguous()?, RmsNorm { eps: eps as f32 });
    }
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    times(&x.broadcast_mul(&scale)?, weight)
}

/// [`rms_norm`] scaled by `1 + weight`: weights are stored around 0.
pub fn zero_centred_rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    rms_norm(x, &(weight.to_dtype(DType::F32)? + 1.0)?, eps)
}

/// Layer norm over the last dimension (Ba et al., arXiv 1607.06450), scaled by `weight` and shifted by `bias`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    layer_norm_by(Form::of(&[x, weight, bias]), x, weight, bias, eps)
}

/// [`layer_norm`] in a chosen form.
pub fn layer_norm_by(form: Form, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if form == Form::Fused {
        let op = LayerNorm { eps: eps as f32 };
        return x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op);
    }
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    plus(&times(&centred.broadcast_mul(&scale)?, weight)?, bias)
}

/// Width of the last dimension, which the parameters must have.
fn width(x: &Layout, parameters: &[&Layout]) -> Result<usize> {
    let width = x.dims().last().copied().unwrap_or(0);
    if parameters.iter().any(|p| p.dims() != [width]) {
        candle_core::bail!("norm parameters {:?} do not fit {:?}", parameters[0].shape(), x.shape());
    }
    Ok(width)
}

/// Mean (0 where the norm does not centre) and inverse spread of one line.
#[inline(always)]
fn statistics<const FMA: bool>(line: &[f32], centre: bool, eps: f32) -> (f32, f32) {
    let share = 1.0 / line.len() as f32;
    let mean = if centre { simd::sum(line) * share } else { 0.0 };
    let spread = simd::squares_around::<FMA>(line, mean) * share;
    (mean, 1.0 / (spread + eps).sqrt())
}

/// What a value costs, in multiplications.
const COST: usize = 4;

/// The normed lines of `x`.
fn forward(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32) -> CpuStorage {
    let lines = |range: Range<usize>| simd::run(Forward { x: &x[range], weight, bias, eps });
    CpuStorage::F32(threads::build(x.len(), weight.len(), COST * x.len(), lines))
}

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    eps: f32,
}

impl Kernel for Forward<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let width = self.weight.len();
        let mut out = Vec::with_capacity(self.x.len());
        let mut scratch = vec![0.0; width];
        for line in self.x.chunks_exact(width) {
            let (mean, scale) = statistics::<FMA>(line, self.bias.is_some(), self.eps);
            for ((out, x), weight) in scratch.iter_mut().zip(line).zip(self.weight) {
                *out = (x - mean) * scale * weight;
            }
            if let Some(bias) = self.bias {
                scratch.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
            out.extend_from_slice(&scratch);
        }
        out
    }
}

struct Backward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    gradient: &'a [f32],
    centre: bool,
    eps: f32,
}

/// Gradients of a norm's arguments.
struct Gradients {
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Kernel for Backward<'_> {
    type Output = Gradients;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Gradients {
        let width = self.weight.len();
        let share = 1.0 / width as f32;
        let mut out = Gradients {
            x: Vec::with_capacity(self.x.len()),
            weight: vec![0.0; width],
            bias: vec![0.0; if self.centre { width } else { 0 }],
        };
        let (mut normed, mut scaled) = (vec![0.0; width], vec![0.0; width]);
        for (line, gradient) in self.x.chunks_exact(width).zip(self.gradient.chunks_exact(width)) {
            let (mean, scale) = statistics::<FMA>(line, self.centre, self.eps);
            for (i, (normed, scaled)) in normed.iter_mut().zip(&mut scaled).enumerate() {
                *normed = (line[i] - mean) * scale;
                *scaled = gradient[i] * self.weight[i];
                out.weight[i] = mul_add::<FMA>(gradient[i], *normed, out.weight[i]);
            }
            out.bias.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
            // The norm removes the components along the line itself and, if it centres, the mean.
            let along = simd::dot::<FMA>(&scaled, &normed) * share;
            let alike = if self.centre { simd::sum(&scaled) * share } else { 0.0 };
            for (scaled, normed) in scaled.iter_mut().zip(&normed) {
                *scaled = scale * (*scaled - alike - normed * along);
            }
            out.x.extend_from_slice(&scaled);
        }
        out
    }
}

fn backward(x: &Tensor, weight: &Tensor, gradient: &Tensor, centre: bool, eps: f32) -> Result<[Option<Tensor>; 3]> {
    let gradient = gradient.contiguous()?;
    let found = {
        let (x, weight, gradient) = (Guard::of(x), Guard::of(weight), Guard::of(&gradient));
        simd::run(Backward { x: x.values()?, weight: weight.values()?, gradient: gradient.values()?, centre, eps })
    };
    // [hidden]
    let parameter = |values| Tensor::from_vec(values, weight.shape(), &Device::Cpu).map(Some);
    Ok([
        // [.., hidden]
        Some(Tensor::from_vec(found.x, x.shape(), &Device::Cpu)?),
        parameter(found.weight)?,
        if centre { parameter(found.bias)? } else { None },
    ])
}

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        own: &Layout,
        weight: &CpuStorage,
        other: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        width(own, &[other])?;
        let (x, weight) = (strided::contiguous(x, own)?, strided::contiguous(weight, other)?);
        Ok((forward(x, weight, None, self.eps), own.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, weight, _] = backward(x, weight, g, false, self.eps)?;
        Ok((x, weight))
    }
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
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
        width(x_layout, &[weight_layout, bias_layout])?;
        let x = strided::contiguous(x, x_layout)?;
        let weight = strided::contiguous(weight, weight_layout)?;
        let bias = Some(strided::contiguous(bias, bias_layout)?);
        Ok((forward(x, weight, bias, self.eps), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, weight, bias] = backward(x, weight, gradient, true, self.eps)?;
        Ok((x, weight, bias))
    }
}
