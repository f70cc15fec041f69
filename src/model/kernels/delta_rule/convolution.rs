//! The causal depthwise convolution over queries, keys and values, with `SiLU`.

use candle_core::{D, Result, Tensor, bail};

use super::super::Form;
use super::super::mixed::times;
use super::convolution_fused::{self, Convolution};
use super::segments::{Segments, Source};
use super::waves::with_zeros;

/// The result of [`causal_conv`].
#[derive(Debug)]
pub struct Convolved {
    /// `[rows, seq_len, channels]`, after `SiLU`; 0 at padding.
    pub out: Tensor,
    mixed: Tensor,
    initial: Option<Tensor>,
    segments: Segments,
    kernel: usize,
}

/// Causal depthwise convolution, then `SiLU`, restarted at every segment:
/// `silu(sum_i weight[c, i] * mixed[t - kernel + 1 + i, c])`.
///
/// - `mixed`: `[rows, seq_len, channels]`.
/// - `weight`: `[channels, 1, kernel]`.
/// - `initial`: the last `kernel - 1` inputs of cached sequences, `[cached sequences, kernel - 1, channels]`; needed where a
///   segment is [`super::Start::Cached`].
///
/// # Errors
/// Shapes that do not match each other or `segments`.
pub fn causal_conv(
    mixed: &Tensor,
    weight: &Tensor,
    initial: Option<&Tensor>,
    segments: &Segments,
) -> Result<Convolved> {
    let weight = weight.to_dtype(mixed.dtype())?;
    let form = match initial {
        Some(initial) => Form::of(&[mixed, &weight, initial]),
        None => Form::of(&[mixed, &weight]),
    };
    causal_conv_by(form, mixed, &weight, initial, segments)
}

/// [`causal_conv`] in a chosen form, all arguments in one number format.
pub fn causal_conv_by(
    form: Form,
    mixed: &Tensor,
    weight: &Tensor,
    initial: Option<&Tensor>,
    segments: &Segments,
) -> Result<Convolved> {
    let kernel = check(mixed, weight, initial, segments)?;
    // Without a cached segment nothing would be read of the initial columns.
    let initial = initial.filter(|_| segments.cached() > 0 && kernel > 1);
    let out = match form {
        Form::Composed => composed(mixed, weight, initial, segments)?,
        Form::Fused => {
            let op = Convolution { segments: segments.clone() };
            convolution_fused::convolve(op, mixed, weight, initial)?
        }
    };
    Ok(Convolved { out, mixed: mixed.clone(), initial: initial.cloned(), segments: segments.clone(), kernel })
}

/// Checks the arguments and returns the width of the kernel.
fn check(mixed: &Tensor, weight: &Tensor, initial: Option<&Tensor>, segments: &Segments) -> Result<usize> {
    let (rows, seq_len) = segments.shape();
    let (channels, _, kernel) = weight.dims3()?;
    if kernel == 0 || weight.dims() != [channels, 1, kernel] || mixed.dims() != [rows, seq_len, channels] {
        bail!("a convolution {:?} does not fit {:?} and {rows} rows of {seq_len}", weight.dims(), mixed.dims());
    }
    if kernel == 1 || segments.cached() == 0 {
        return Ok(kernel);
    }
    let Some(initial) = initial else { bail!("the segments continue cached sequences, but there are no columns") };
    let (sequences, columns, width) = initial.dims3()?;
    if sequences < segments.cached() || (columns, width) != (kernel - 1, channels) {
        bail!("columns {:?} do not fit a convolution {:?} and the cached sequences", initial.dims(), weight.dims());
    }
    Ok(kernel)
}

fn composed(mixed: &Tensor, weight: &Tensor, initial: Option<&Tensor>, segments: &Segments) -> Result<Tensor> {
    let (rows, seq_len, channels) = mixed.dims3()?;
    let (positions, kernel) = (rows * seq_len, weight.dim(D::Minus1)?);
    let mut inputs = mixed.reshape((positions, channels))?;
    if let Some(initial) = initial {
        // [positions + initial columns, channels]
        inputs = Tensor::cat(&[&inputs, &initial.reshape(((), channels))?], 0)?;
    }
    let zero = inputs.dim(0)?;
    let inputs = with_zeros(&inputs)?;
    // [kernel, channels]
    let taps = weight.reshape((channels, kernel))?.t()?.contiguous()?;
    let mut sum: Option<Tensor> = None;
    for tap in 0..kernel {
        let mut index = vec![zero as u32; positions];
        for (segment, own) in segments.all().iter().enumerate() {
            for offset in 0..own.own.len() {
                let back = kernel - 1 - tap;
                let first = segments.first(segment);
                let source = if back <= offset {
                    Source::Position(first + offset - back)
                } else {
                    segments.before(segment, back - offset)
                };
                index[first + offset] = match source {
                    Source::Zero => zero,
                    Source::Position(position) => position,
                    Source::Cached { sequence, back } => positions + sequence * (kernel - 1) + (kernel - 1 - back),
                } as u32;
            }
        }
        // [rows * seq_len]
        let index = Tensor::new(index, mixed.device())?;
        let term = times(&inputs.index_select(&index, 0)?, &taps.narrow(0, tap, 1)?)?;
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    match sum {
        Some(sum) => sum.silu()?.reshape((rows, seq_len, channels)),
        None => bail!("a convolution needs at least one tap"),
    }
}

impl Convolved {
    /// The last `kernel - 1` inputs of every segment, oldest first, zeros where its sequence has fewer:
    /// `[segments, kernel - 1, channels]`. With gradient.
    pub fn columns(&self) -> Result<Tensor> {
        let (rows, seq_len, channels) = self.mixed.dims3()?;
        let columns = self.kernel - 1;
        let (mut positions, mut cached) = (Vec::new(), Vec::new());
        let mut sources = Vec::with_capacity(self.segments.len() * columns);
        for segment in 0..self.segments.len() {
            for back in (1..=columns).rev() {
                let source = self.segments.at_end(segment, back);
                match source {
                    Source::Zero => {}
                    Source::Position(position) => positions.push(position as u32),
                    Source::Cached { sequence, back } => cached.push((sequence * columns + columns - back) as u32),
                }
                sources.push(source);
            }
        }
        let order = order(&sources, positions.len(), cached.len());
        let device = self.mixed.device();
        let mut parts = Vec::new();
        if !positions.is_empty() {
            // [columns from the batch, channels]
            let index = Tensor::new(positions, device)?;
            parts.push(self.mixed.reshape((rows * seq_len, channels))?.index_select(&index, 0)?);
        }
        if let (false, Some(initial)) = (cached.is_empty(), &self.initial) {
            // [columns from cached sequences, channels]
            let index = Tensor::new(cached, device)?;
            parts.push(initial.reshape(((), channels))?.index_select(&index, 0)?);
        }
        // [1, channels]
        parts.push(Tensor::zeros((1, channels), self.mixed.dtype(), device)?);
        // [segments * (kernel - 1)]
        let order = Tensor::new(order, device)?;
        Tensor::cat(&parts, 0)?.index_select(&order, 0)?.reshape((self.segments.len(), columns, channels))
    }
}

/// Where each source is among the sources from the batch, then those from cached sequences, then one zero.
fn order(sources: &[Source], from_batch: usize, from_cache: usize) -> Vec<u32> {
    let (mut batch, mut cache) = (0, from_batch);
    let next = |counter: &mut usize| {
        *counter += 1;
        *counter - 1
    };
    let place = |source: &Source| match source {
        Source::Zero => from_batch + from_cache,
        Source::Position(_) => next(&mut batch),
        Source::Cached { .. } => next(&mut cache),
    };
    sources.iter().map(place).map(|place| place as u32).collect()
}
