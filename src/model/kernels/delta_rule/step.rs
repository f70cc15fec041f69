//! Decode: one token of each of many sequences, by the recurrence itself.

use candle_core::{CpuStorage, D, Device, InplaceOp3, Layout as Place, Result, Tensor, bail};
use parking_lot::Mutex;

use super::super::Form;
use super::super::simd::{self, Kernel, mul_add};
use super::super::strided;
use super::super::threads;
use super::chunk::{normalise, raise};
use super::layout::Layout;
use super::{DeltaHeads, Inputs, Method, Segments, delta_rule_by};

/// One token of each of `rows` sequences, without gradient: `qkv: [rows, channels]`, `decay`, `beta: [rows, value_heads]` to
/// `[rows, value_heads, value_dim]`. `states: [rows, value_heads, key_dim, value_dim]` (contiguous) are updated in place.
///
/// # Errors
/// Shapes that do not match each other or `heads`.
pub fn delta_step(qkv: &Tensor, decay: &Tensor, beta: &Tensor, states: &Tensor, heads: DeltaHeads) -> Result<Tensor> {
    delta_step_by(Form::of(&[qkv, decay, beta, states]), qkv, decay, beta, states, heads)
}

/// [`delta_step`] in a chosen form.
pub fn delta_step_by(
    form: Form,
    qkv: &Tensor,
    decay: &Tensor,
    beta: &Tensor,
    states: &Tensor,
    heads: DeltaHeads,
) -> Result<Tensor> {
    let (rows, _) = qkv.dims2()?;
    if states.dim(0)? != rows || !states.is_contiguous() {
        bail!("{rows} tokens do not fit the states {:?} with strides {:?}", states.dims(), states.stride());
    }
    // [rows, 1, ..]
    let [qkv, decay, beta] = [qkv, decay, beta].map(|x| x.detach().unsqueeze(1));
    let (qkv, decay, beta) = (qkv?, decay?, beta?);
    let segments = &Segments::rows(1, &vec![0; rows], true);
    let inputs = Inputs { qkv: &qkv, decay: &decay, beta: &beta, initial: Some(states), segments, heads };
    match form {
        Form::Composed => {
            let found = delta_rule_by(Method::Recurrent, &inputs, true)?;
            if let Some(next) = found.states {
                states.slice_set(&next.contiguous()?, 0, 0)?;
            }
            found.out.squeeze(1)
        }
        Form::Fused => {
            inputs.check()?;
            let op = Step { segments: segments.clone(), heads, results: Mutex::new(Vec::new()) };
            // [rows, 1, 2 * value_heads]
            let gates = Tensor::cat(&[&decay, &beta], D::Minus1)?.contiguous()?;
            states.inplace_op3(&qkv.contiguous()?, &gates, &op)?;
            // [rows, value_heads, value_dim]
            Tensor::from_vec(op.results.into_inner(), (rows, heads.value_heads, heads.value_dim), &Device::Cpu)
        }
    }
}

struct Step {
    segments: Segments,
    heads: DeltaHeads,
    /// An operation in place has no result of its own.
    results: Mutex<Vec<f32>>,
}

impl InplaceOp3 for Step {
    fn name(&self) -> &'static str {
        "delta-step"
    }

    fn cpu_fwd(
        &self,
        states: &mut CpuStorage,
        own: &Place,
        qkv: &CpuStorage,
        second: &Place,
        gates: &CpuStorage,
        third: &Place,
    ) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (states, own.contiguous_offsets()) else {
            bail!("states are updated in contiguous f32 only")
        };
        let (qkv, gates) = (strided::contiguous(qkv, second)?, strided::contiguous(gates, third)?);
        let layout = Layout { segments: &self.segments, heads: self.heads, qkv, gates, initial: &[] };
        let size = self.heads.repeats() * layout.state_len();
        let results = threads::map_chunks(&mut values[start..end], size, layout.multiplications(), |index, states| {
            let (row, head) = (index / self.heads.key_heads, index % self.heads.key_heads);
            simd::run(Token { layout: &layout, row, head, states })
        });
        *self.results.lock() = results.concat();
        Ok(())
    }
}

/// The token of a row for a key head, and the states of the value heads that it serves.
struct Token<'a> {
    layout: &'a Layout<'a>,
    row: usize,
    head: usize,
    states: &'a mut [f32],
}

impl Kernel for Token<'_> {
    /// Results `[value heads of the key head, value_dim]`.
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let Self { layout, row, head, states } = self;
        let dim = layout.heads.value_dim;
        let (mut q, mut k) = (Vec::new(), Vec::new());
        normalise::<FMA>(layout.query(row, head), layout.heads.scale() as f32, &mut q);
        normalise::<FMA>(layout.key(row, head), 1.0, &mut k);
        let mut out = vec![0.0; layout.heads.repeats() * dim];
        let mut correction = vec![0.0; dim];
        let places = out.chunks_exact_mut(dim).zip(states.chunks_exact_mut(layout.state_len()));
        for (value_head, (out, state)) in layout.served(head).zip(places) {
            let decay = raise::<FMA>(layout.decay(row, value_head));
            correction.fill(0.0);
            for (line, k) in state.chunks_exact(dim).zip(&k) {
                simd::add_scaled::<FMA>(&mut correction, *k, line);
            }
            let beta = layout.beta(row, value_head);
            for (correction, value) in correction.iter_mut().zip(layout.value(row, value_head)) {
                *correction = beta * mul_add::<FMA>(-decay, *correction, *value);
            }
            for ((line, k), q) in state.chunks_exact_mut(dim).zip(&k).zip(&q) {
                for ((held, correction), out) in line.iter_mut().zip(&correction).zip(out.iter_mut()) {
                    *held = mul_add::<FMA>(*k, *correction, *held * decay);
                    *out = mul_add::<FMA>(*q, *held, *out);
                }
            }
        }
        out
    }
}
