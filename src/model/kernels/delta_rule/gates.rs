//! The decay of the delta net's state.

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor};

use super::super::Form;
use super::super::mixed::{plus, times};
use super::super::simd::{self, Kernel, exp, sigmoid};
use super::super::strided::{self, Guard};

/// The log decay `-exp(a_log) * softplus(a + dt_bias)`: `a: [.., value_heads]`, `a_log`, `dt_bias: [value_heads]`.
pub fn log_decay(a: &Tensor, a_log: &Tensor, dt_bias: &Tensor) -> Result<Tensor> {
    let (a_log, dt_bias) = (a_log.to_dtype(DType::F32)?, dt_bias.to_dtype(DType::F32)?);
    log_decay_by(Form::of(&[a, &a_log, &dt_bias]), a, &a_log, &dt_bias)
}

/// [`log_decay`] in a chosen form, all arguments in f32.
pub fn log_decay_by(form: Form, a: &Tensor, a_log: &Tensor, dt_bias: &Tensor) -> Result<Tensor> {
    if form == Form::Fused {
        return a.contiguous()?.apply_op3(&a_log.contiguous()?, &dt_bias.contiguous()?, LogDecay);
    }
    let x = plus(a, dt_bias)?;
    // softplus, written so that no exponential can overflow.
    let softplus = (x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    times(&softplus, &a_log.exp()?.neg()?)
}

struct LogDecay;

#[derive(Clone, Copy)]
struct Forward<'a> {
    a: &'a [f32],
    a_log: &'a [f32],
    dt_bias: &'a [f32],
}

/// `ln(1 + e^x)`.
#[inline(always)]
fn softplus<const FMA: bool>(x: f32) -> f32 {
    x.max(0.0) + exp::<FMA>(-x.abs()).ln_1p()
}

impl Kernel for Forward<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let rates: Vec<f32> = self.a_log.iter().map(|x| -x.exp()).collect();
        let mut out = Vec::with_capacity(self.a.len());
        for line in self.a.chunks_exact(rates.len()) {
            let inputs = line.iter().zip(self.dt_bias).zip(&rates);
            out.extend(inputs.map(|((a, bias), rate)| rate * softplus::<FMA>(a + bias)));
        }
        out
    }
}

struct Backward<'a> {
    inputs: Forward<'a>,
    gradient: &'a [f32],
}

impl Kernel for Backward<'_> {
    /// Gradients of `a`, `a_log`, `dt_bias`.
    type Output = [Vec<f32>; 3];

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        let Forward { a, a_log, dt_bias } = self.inputs;
        let heads = a_log.len();
        let mut of_a = Vec::with_capacity(a.len());
        let (mut of_a_log, mut of_bias) = (vec![0.0; heads], vec![0.0; heads]);
        for (line, gradient) in a.chunks_exact(heads).zip(self.gradient.chunks_exact(heads)) {
            for head in 0..heads {
                let x = line[head] + dt_bias[head];
                let scaled = -a_log[head].exp() * gradient[head];
                of_a.push(scaled * sigmoid::<FMA>(x));
                of_a_log[head] += scaled * softplus::<FMA>(x);
                of_bias[head] += scaled * sigmoid::<FMA>(x);
            }
        }
        [of_a, of_a_log, of_bias]
    }
}

impl CustomOp3 for LogDecay {
    fn name(&self) -> &'static str {
        "log-decay"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        own: &Layout,
        a_log: &CpuStorage,
        a_log_layout: &Layout,
        dt_bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let heads = own.dims().last().copied().unwrap_or(0);
        if a_log_layout.dims() != [heads] || bias_layout.dims() != [heads] {
            candle_core::bail!("decay rates {:?} do not fit {:?}", a_log_layout.shape(), own.shape());
        }
        let out = simd::run(Forward {
            a: strided::contiguous(a, own)?,
            a_log: strided::contiguous(a_log, a_log_layout)?,
            dt_bias: strided::contiguous(dt_bias, bias_layout)?,
        });
        Ok((CpuStorage::F32(out), own.shape().clone()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        a_log: &Tensor,
        dt_bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let [of_a, of_a_log, of_bias] = {
            let guards = [a, a_log, dt_bias, &gradient].map(Guard::of);
            let inputs = Forward { a: guards[0].values()?, a_log: guards[1].values()?, dt_bias: guards[2].values()? };
            simd::run(Backward { inputs, gradient: guards[3].values()? })
        };
        // [shape of the input]
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu).map(Some);
        Ok((tensor(of_a, a)?, tensor(of_a_log, a_log)?, tensor(of_bias, dt_bias)?))
    }
}
