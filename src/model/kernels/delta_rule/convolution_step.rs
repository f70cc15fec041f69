//! Decode: the convolution of one token of each of many sequences.

use candle_core::{CpuStorage, Device, InplaceOp3, Layout, Result, Tensor, bail};
use parking_lot::Mutex;

use super::super::Form;
use super::super::simd::{self, Kernel, mul_add, sigmoid};
use super::super::strided;
use super::convolution::causal_conv_by;
use super::convolution_fused::taps;
use super::segments::Segments;

/// One token of each of `rows` sequences, without gradient: `mixed: [rows, channels]` to `[rows, channels]`. The columns
/// `[rows, kernel - 1, channels]` (contiguous) move on by one in place.
///
/// # Errors
/// Shapes that do not match each other.
pub fn causal_conv_step(mixed: &Tensor, weight: &Tensor, columns: &Tensor) -> Result<Tensor> {
    let weight = weight.to_dtype(mixed.dtype())?;
    causal_conv_step_by(Form::of(&[mixed, &weight, columns]), mixed, &weight, columns)
}

/// [`causal_conv_step`] in a chosen form, all arguments in one number format.
pub fn causal_conv_step_by(form: Form, mixed: &Tensor, weight: &Tensor, columns: &Tensor) -> Result<Tensor> {
    let (rows, channels) = mixed.dims2()?;
    let (outputs, _, kernel) = weight.dims3()?;
    if columns.dims() != [rows, kernel.saturating_sub(1), channels] || outputs != channels || !columns.is_contiguous() {
        bail!("columns {:?} do not fit {:?} and a convolution {:?}", columns.dims(), mixed.dims(), weight.dims());
    }
    if form == Form::Fused {
        let op = Step { results: Mutex::new(Vec::new()) };
        columns.inplace_op3(&mixed.contiguous()?, &weight.contiguous()?, &op)?;
        // [rows, channels]
        return Tensor::from_vec(op.results.into_inner(), (rows, channels), &Device::Cpu);
    }
    let mixed = mixed.detach().unsqueeze(1)?;
    let segments = Segments::rows(1, &vec![0; rows], true);
    let convolved = causal_conv_by(form, &mixed, weight, Some(columns), &segments)?;
    if kernel > 1 {
        columns.slice_set(&convolved.columns()?.contiguous()?, 0, 0)?;
    }
    convolved.out.reshape((rows, channels))
}

struct Step {
    /// An operation in place has no result of its own.
    results: Mutex<Vec<f32>>,
}

impl InplaceOp3 for Step {
    fn name(&self) -> &'static str {
        "causal-convolution-step"
    }

    fn cpu_fwd(
        &self,
        columns: &mut CpuStorage,
        own: &Layout,
        mixed: &CpuStorage,
        second: &Layout,
        weight: &CpuStorage,
        third: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (columns, own.contiguous_offsets()) else {
            bail!("columns are updated in contiguous f32 only")
        };
        let (channels, _, kernel) = third.shape().dims3()?;
        let taps = taps(strided::contiguous(weight, third)?, kernel);
        let mixed = strided::contiguous(mixed, second)?;
        let columns = &mut values[start..end];
        *self.results.lock() = simd::run(Token { mixed, taps: &taps, columns, channels });
        Ok(())
    }
}

struct Token<'a> {
    mixed: &'a [f32],
    /// `[kernel, channels]`.
    taps: &'a [f32],
    /// `[rows, kernel - 1, channels]`.
    columns: &'a mut [f32],
    channels: usize,
}

impl Kernel for Token<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let Self { mixed, taps, columns, channels } = self;
        let (earlier, newest) = taps.split_at(taps.len() - channels);
        let mut out = vec![0.0; mixed.len()];
        for (row, (out, x)) in out.chunks_exact_mut(channels).zip(mixed.chunks_exact(channels)).enumerate() {
            let columns = &mut columns[row * earlier.len()..(row + 1) * earlier.len()];
            for (column, tap) in columns.chunks_exact(channels).zip(earlier.chunks_exact(channels)) {
                for ((sum, x), weight) in out.iter_mut().zip(column).zip(tap) {
                    *sum = mul_add::<FMA>(*x, *weight, *sum);
                }
            }
            for ((sum, x), weight) in out.iter_mut().zip(x).zip(newest) {
                let value = mul_add::<FMA>(*x, *weight, *sum);
                *sum = value * sigmoid::<FMA>(value);
            }
            if !columns.is_empty() {
                columns.copy_within(channels.., 0);
                let last = columns.len() - channels;
                columns[last..].copy_from_slice(x);
            }
        }
        out
    }
}
