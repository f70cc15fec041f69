//! Activations of the MLPs.

use std::marker::PhantomData;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Tensor};

use super::simd::{self, Kernel, mul_add, sigmoid as sigmoid_of};
use super::strided::{self, Guard};
use super::{Form, own_backward, threads};

/// `silu(gate) * up`, the gated MLP's activation (`SwiGLU`, Shazeer, arXiv 2002.05202).
pub fn gated_silu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gated_silu_by(Form::of(&[gate, up]), gate, up)
}

/// [`gated_silu`] in a chosen form.
pub fn gated_silu_by(form: Form, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    match form {
        Form::Composed => composed_gated_silu(gate, up),
        Form::Fused => gate.contiguous()?.apply_op2(&up.contiguous()?, Gate::<Silu>::new()),
    }
}

/// The widest tensors of a layer: the result is all that is kept of it.
fn composed_gated_silu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let result = (gate.detach().silu()? * up.detach())?;
    if !gate.track_op() && !up.track_op() {
        return Ok(result);
    }
    let backward = |[gate, up]: [Tensor; 2], _, gradient: Tensor| {
        let open = sigmoid_by(Form::Composed, &gate)?;
        let value = (&gate * &open)?;
        // The slope of silu: s + x s (1 - s).
        let slope = (&open + (&value - (&value * &open)?)?)?;
        Ok([((&gradient * up)? * slope)?, (gradient * value)?])
    };
    own_backward::of_two("gated-silu", [gate, up], result, Box::new(backward))
}

/// `x * sigmoid(gate)`.
pub fn sigmoid_gated(x: &Tensor, gate: &Tensor) -> Result<Tensor> {
    sigmoid_gated_by(Form::of(&[x, gate]), x, gate)
}

/// [`sigmoid_gated`] in a chosen form.
pub fn sigmoid_gated_by(form: Form, x: &Tensor, gate: &Tensor) -> Result<Tensor> {
    match form {
        Form::Composed => x * sigmoid_by(form, gate)?,
        Form::Fused => gate.contiguous()?.apply_op2(&x.contiguous()?, Gate::<Sigmoid>::new()),
    }
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    sigmoid_by(Form::of(&[x]), x)
}

/// [`sigmoid`] in a chosen form.
pub fn sigmoid_by(form: Form, x: &Tensor) -> Result<Tensor> {
    match form {
        // Written with tanh, so that no exponential can overflow.
        Form::Composed => ((x * 0.5)?.tanh()? + 1.0)? * 0.5,
        Form::Fused => x.contiguous()?.apply_op1(Pointwise::<Sigmoid>::new()),
    }
}

/// `x * sigmoid(1.702 x)`.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    quick_gelu_by(Form::of(&[x]), x)
}

/// [`quick_gelu`] in a chosen form.
pub fn quick_gelu_by(form: Form, x: &Tensor) -> Result<Tensor> {
    match form {
        Form::Composed => x * sigmoid_by(form, &(x * 1.702)?)?,
        Form::Fused => x.contiguous()?.apply_op1(Pointwise::<QuickGelu>::new()),
    }
}

/// The tanh approximation of GELU (Hendrycks & Gimpel, arXiv 1606.08415).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    gelu_by(Form::of(&[x]), x)
}

/// [`gelu()`] in a chosen form.
pub fn gelu_by(form: Form, x: &Tensor) -> Result<Tensor> {
    match form {
        Form::Composed => x.gelu(),
        Form::Fused => x.contiguous()?.apply_op1(Pointwise::<TanhGelu>::new()),
    }
}

/// Exact GELU: `x` times the normal CDF at `x`.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    gelu_erf_by(Form::of(&[x]), x)
}

/// [`gelu_erf`] in a chosen form.
pub fn gelu_erf_by(form: Form, x: &Tensor) -> Result<Tensor> {
    match form {
        Form::Composed => x.gelu_erf(),
        Form::Fused => x.contiguous()?.apply_op1(Pointwise::<ErfGelu>::new()),
    }
}

/// What a value and its slope cost, in multiplications.
const COST: usize = 16;

/// A function of one number.
trait Curve: Send + Sync + 'static {
    const NAME: &'static str;

    /// Value and slope.
    fn at<const FMA: bool>(x: f32) -> (f32, f32);
}

/// `silu` and `sigmoid`: the activations of gates.
struct Silu;

impl Curve for Silu {
    const NAME: &'static str = "silu";

    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        gate::<FMA>(x, x, 1.0)
    }
}

struct Sigmoid;

impl Curve for Sigmoid {
    const NAME: &'static str = "sigmoid";

    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        let value = sigmoid_of::<FMA>(x);
        (value, value * (1.0 - value))
    }
}

/// `x * sigmoid(z)`, whose inner function `z` has the slope `z'`.
#[inline(always)]
fn gate<const FMA: bool>(x: f32, z: f32, slope: f32) -> (f32, f32) {
    let share = sigmoid_of::<FMA>(z);
    let value = x * share;
    (value, mul_add::<FMA>(value * (1.0 - share), slope, share))
}

struct QuickGelu;

impl Curve for QuickGelu {
    const NAME: &'static str = "quick-gelu";

    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        gate::<FMA>(x, 1.702 * x, 1.702)
    }
}

struct TanhGelu;

impl Curve for TanhGelu {
    const NAME: &'static str = "gelu";

    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        // (1 + tanh(u)) / 2 = sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
        const TWICE: f32 = 1.595_769;
        const CUBE: f32 = 0.044_715 * TWICE;
        let square = x * x;
        gate::<FMA>(x, x * mul_add::<FMA>(square, CUBE, TWICE), mul_add::<FMA>(square, 3.0 * CUBE, TWICE))
    }
}

struct ErfGelu;

impl Curve for ErfGelu {
    const NAME: &'static str = "gelu-erf";

    #[inline(always)]
    fn at<const FMA: bool>(x: f32) -> (f32, f32) {
        // The normal distribution's density at 0.
        const PEAK: f32 = 0.398_942_3;
        // erf by Abramowitz & Stegun, formula 7.1.26: 1.5e-7 at most off.
        let size = x.abs();
        let bell = simd::exp::<FMA>(-0.5 * x * x);
        let t = 1.0 / mul_add::<FMA>(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2, size, 1.0);
        let mut p = 1.061_405_4;
        for term in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
            p = mul_add::<FMA>(p, t, term);
        }
        let tail = 0.5 * p * t * bell;
        let share = if x < 0.0 { tail } else { 1.0 - tail };
        (x * share, mul_add::<FMA>(x * bell, PEAK, share))
    }
}

struct Pointwise<C>(PhantomData<C>);

impl<C> Pointwise<C> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

/// Values of a curve or, with `gradient`, its slopes times the gradient.
struct Points<'a, C> {
    x: &'a [f32],
    gradient: Option<&'a [f32]>,
    curve: PhantomData<C>,
}

impl<C: Curve> Kernel for Points<'_, C> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let x = self.x;
        match self.gradient {
            None => simd::build(x.len(), |at, out| {
                for (out, x) in out.iter_mut().zip(&x[at..]) {
                    *out = C::at::<FMA>(*x).0;
                }
            }),
            Some(gradient) => simd::build(x.len(), |at, out| {
                for ((out, x), gradient) in out.iter_mut().zip(&x[at..]).zip(&gradient[at..]) {
                    *out = gradient * C::at::<FMA>(*x).1;
                }
            }),
        }
    }
}

impl<C: Curve> CustomOp1 for Pointwise<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = strided::contiguous(storage, layout)?;
        let out = threads::build(x.len(), 1, COST * x.len(), |range| {
            simd::run(Points::<C> { x: &x[range], gradient: None, curve: PhantomData })
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let out = {
            let (x, gradient) = (Guard::of(x), Guard::of(&gradient));
            simd::run(Points::<C> { x: x.values()?, gradient: Some(gradient.values()?), curve: PhantomData })
        };
        // [shape of x]
        Ok(Some(Tensor::from_vec(out, x.shape(), &Device::Cpu)?))
    }
}

/// An activation of one branch, times the other.
struct Gate<C>(PhantomData<C>);

impl<C> Gate<C> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

struct Gated<'a, C> {
    gate: &'a [f32],
    up: &'a [f32],
    curve: PhantomData<C>,
}

impl<C: Curve> Kernel for Gated<'_, C> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        simd::build(self.gate.len(), |at, out| {
            for ((out, gate), up) in out.iter_mut().zip(&self.gate[at..]).zip(&self.up[at..]) {
                *out = C::at::<FMA>(*gate).0 * up;
            }
        })
    }
}

struct GatedBackward<'a, C> {
    inputs: Gated<'a, C>,
    gradient: &'a [f32],
}

impl<C: Curve> Kernel for GatedBackward<'_, C> {
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        let Gated { gate, up, .. } = self.inputs;
        simd::build_two(gate.len(), |at, to_gate, to_up| {
            let inputs = gate[at..].iter().zip(&up[at..]).zip(&self.gradient[at..]);
            for ((to_gate, to_up), ((x, up), gradient)) in to_gate.iter_mut().zip(to_up).zip(inputs) {
                let (value, slope) = C::at::<FMA>(*x);
                *to_gate = gradient * up * slope;
                *to_up = gradient * value;
            }
        })
    }
}

impl<C: Curve> CustomOp2 for Gate<C> {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, gate: &CpuStorage, own: &Layout, up: &CpuStorage, other: &Layout) -> Result<(CpuStorage, Shape)> {
        if own.shape() != other.shape() {
            candle_core::bail!("a gate of {:?} does not fit values of {:?}", own.shape(), other.shape());
        }
        let (gate, up) = (strided::contiguous(gate, own)?, strided::contiguous(up, other)?);
        let out = threads::build(gate.len(), 1, COST * gate.len(), |range| {
            simd::run(Gated::<C> { gate: &gate[range.clone()], up: &up[range], curve: PhantomData })
        });
        Ok((CpuStorage::F32(out), own.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (to_gate, to_up) = {
            let (gate, up, gradient) = (Guard::of(gate), Guard::of(up), Guard::of(&gradient));
            let inputs = Gated::<C> { gate: gate.values()?, up: up.values()?, curve: PhantomData };
            simd::run(GatedBackward { inputs, gradient: gradient.values()? })
        };
        // [shape of gate and up]
        let tensor = |values| Tensor::from_vec(values, gate.shape(), &Device::Cpu).map(Some);
        Ok((tensor(to_gate)?, tensor(to_up)?))
    }
}
