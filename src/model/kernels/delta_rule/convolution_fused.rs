//! The convolution in one pass on the CPU: a position's channels are the lanes.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor};

use super::super::simd::{self, Kernel, mul_add, sigmoid};
use super::super::strided::{self, Guard};
use super::segments::{Segments, Source};

/// The operation.
pub(super) struct Convolution {
    pub(super) segments: Segments,
}

/// The convolution of tensors that fit each other.
pub(super) fn convolve(op: Convolution, mixed: &Tensor, weight: &Tensor, initial: Option<&Tensor>) -> Result<Tensor> {
    let (mixed, weight) = (mixed.contiguous()?, weight.contiguous()?);
    match initial {
        Some(initial) => mixed.apply_op3(&weight, &initial.contiguous()?, op),
        None => mixed.apply_op2(&weight, op),
    }
}

/// A weight by taps: from `[channels, 1, kernel]` to `[kernel, channels]`.
pub(super) fn taps(weight: &[f32], kernel: usize) -> Vec<f32> {
    (0..kernel).flat_map(|tap| weight.iter().skip(tap).step_by(kernel)).copied().collect()
}

/// A convolution in memory.
#[derive(Clone, Copy)]
struct Problem<'a> {
    segments: &'a Segments,
    mixed: &'a [f32],
    /// `[channels, kernel]`.
    weight: &'a [f32],
    /// Empty where no segment continues a cached sequence.
    initial: &'a [f32],
    channels: usize,
    kernel: usize,
}

/// Where the row of an input begins.
#[derive(Clone, Copy)]
enum Row {
    Mixed(usize),
    Initial(usize),
}

impl<'a> Problem<'a> {
    /// The input `back` positions before position `offset` of a segment; none before the beginning.
    #[inline(always)]
    fn row(&self, segment: usize, first: usize, offset: usize, back: usize) -> Option<Row> {
        let source = if back <= offset {
            Source::Position(first + offset - back)
        } else {
            self.segments.before(segment, back - offset)
        };
        match source {
            Source::Zero => None,
            Source::Position(position) => Some(Row::Mixed(position * self.channels)),
            Source::Cached { sequence, back } => {
                let columns = self.kernel - 1;
                Some(Row::Initial((sequence * columns + columns - back) * self.channels))
            }
        }
    }

    #[inline(always)]
    fn values(&self, row: Row) -> &'a [f32] {
        match row {
            Row::Mixed(at) => &self.mixed[at..at + self.channels],
            Row::Initial(at) => &self.initial[at..at + self.channels],
        }
    }

    /// The sum of one position over its taps.
    #[inline(always)]
    fn sum<const FMA: bool>(&self, taps: &[f32], segment: usize, first: usize, offset: usize, sum: &mut [f32]) {
        sum.fill(0.0);
        for (tap, weight) in taps.chunks_exact(self.channels).enumerate() {
            if let Some(row) = self.row(segment, first, offset, self.kernel - 1 - tap) {
                for ((sum, x), weight) in sum.iter_mut().zip(self.values(row)).zip(weight) {
                    *sum = mul_add::<FMA>(*x, *weight, *sum);
                }
            }
        }
    }
}

struct Forward<'a>(Problem<'a>);

impl Kernel for Forward<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let problem = self.0;
        let (channels, taps) = (problem.channels, taps(problem.weight, problem.kernel));
        let mut out = vec![0.0; problem.mixed.len()];
        for (index, segment) in problem.segments.all().iter().enumerate() {
            let first = problem.segments.first(index);
            let lines = out[first * channels..].chunks_exact_mut(channels);
            for (offset, line) in lines.take(segment.own.len()).enumerate() {
                problem.sum::<FMA>(&taps, index, first, offset, line);
                for value in line {
                    *value *= sigmoid::<FMA>(*value);
                }
            }
        }
        out
    }
}

struct Backward<'a> {
    problem: Problem<'a>,
    gradient: &'a [f32],
    /// Is the gradient of the weight wanted?
    weight: bool,
}

/// Gradients as the arguments lie, that of the weight by taps.
struct Gradients {
    mixed: Vec<f32>,
    taps: Vec<f32>,
    initial: Vec<f32>,
}

impl Kernel for Backward<'_> {
    type Output = Gradients;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Gradients {
        let problem = self.problem;
        let (channels, taps) = (problem.channels, taps(problem.weight, problem.kernel));
        let mut out = Gradients {
            mixed: vec![0.0; problem.mixed.len()],
            taps: vec![0.0; if self.weight { taps.len() } else { 0 }],
            initial: vec![0.0; problem.initial.len()],
        };
        let mut slopes = vec![0.0; channels];
        for (index, segment) in problem.segments.all().iter().enumerate() {
            let first = problem.segments.first(index);
            for offset in 0..segment.own.len() {
                problem.sum::<FMA>(&taps, index, first, offset, &mut slopes);
                let at = (first + offset) * channels;
                for (slope, gradient) in slopes.iter_mut().zip(&self.gradient[at..at + channels]) {
                    let share = sigmoid::<FMA>(*slope);
                    *slope = gradient * share * mul_add::<FMA>(*slope, 1.0 - share, 1.0);
                }
                for tap in 0..problem.kernel {
                    if let Some(row) = problem.row(index, first, offset, problem.kernel - 1 - tap) {
                        out.add::<FMA>(&problem, tap, row, &taps, &slopes);
                    }
                }
            }
        }
        out
    }
}

impl Gradients {
    /// Adds what one position gives to one of its inputs and to the weight of that tap.
    #[inline(always)]
    fn add<const FMA: bool>(&mut self, problem: &Problem<'_>, tap: usize, row: Row, taps: &[f32], slopes: &[f32]) {
        let channels = problem.channels;
        let target = match row {
            Row::Mixed(at) => &mut self.mixed[at..at + channels],
            Row::Initial(at) => &mut self.initial[at..at + channels],
        };
        let own = tap * channels..(tap + 1) * channels;
        for ((target, slope), weight) in target.iter_mut().zip(slopes).zip(&taps[own.clone()]) {
            *target = mul_add::<FMA>(*slope, *weight, *target);
        }
        if !self.taps.is_empty() {
            for ((target, slope), x) in self.taps[own].iter_mut().zip(slopes).zip(problem.values(row)) {
                *target = mul_add::<FMA>(*slope, *x, *target);
            }
        }
    }
}

impl Convolution {
    fn problem<'a>(&'a self, mixed: &'a [f32], weight: &'a [f32], kernel: usize, initial: &'a [f32]) -> Problem<'a> {
        Problem { segments: &self.segments, mixed, weight, initial, channels: weight.len() / kernel, kernel }
    }

    fn forward(
        &self,
        (mixed, own): (&CpuStorage, &Layout),
        (weight, other): (&CpuStorage, &Layout),
        initial: &[f32],
    ) -> Result<(CpuStorage, Shape)> {
        let (_, _, kernel) = other.shape().dims3()?;
        let (mixed, weight) = (strided::contiguous(mixed, own)?, strided::contiguous(weight, other)?);
        let out = simd::run(Forward(self.problem(mixed, weight, kernel, initial)));
        Ok((CpuStorage::F32(out), own.shape().clone()))
    }

    fn backward(
        &self,
        mixed: &Tensor,
        weight: &Tensor,
        initial: Option<&Tensor>,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let gradient = gradient.contiguous()?;
        let (channels, _, kernel) = weight.dims3()?;
        let found = {
            let guards = [mixed, weight, &gradient].map(Guard::of);
            let columns = initial.map(Guard::of);
            let columns = columns.as_ref().map_or(Ok([].as_slice()), Guard::values)?;
            let problem = self.problem(guards[0].values()?, guards[1].values()?, kernel, columns);
            simd::run(Backward { problem, gradient: guards[2].values()?, weight: weight.track_op() })
        };
        let of_weight = || {
            // [channels, 1, kernel]
            Tensor::from_vec(found.taps, (kernel, channels), &Device::Cpu)?.t()?.contiguous()?.unsqueeze(1)
        };
        // [shape of the initial columns]
        let of_initial = |initial: &Tensor| Tensor::from_vec(found.initial, initial.shape(), &Device::Cpu);
        Ok([
            // [rows, seq_len, channels]
            Some(Tensor::from_vec(found.mixed, mixed.shape(), &Device::Cpu)?),
            weight.track_op().then(of_weight).transpose()?,
            initial.filter(|initial| initial.track_op()).map(of_initial).transpose()?,
        ])
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "causal-convolution"
    }

    fn cpu_fwd(
        &self,
        mixed: &CpuStorage,
        own: &Layout,
        weight: &CpuStorage,
        other: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((mixed, own), (weight, other), &[])
    }

    fn bwd(&self, mixed: &Tensor, weight: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [mixed, weight, _] = self.backward(mixed, weight, None, g)?;
        Ok((mixed, weight))
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "causal-convolution"
    }

    fn cpu_fwd(
        &self,
        mixed: &CpuStorage,
        own: &Layout,
        weight: &CpuStorage,
        other: &Layout,
        initial: &CpuStorage,
        third: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((mixed, own), (weight, other), strided::contiguous(initial, third)?)
    }

    fn bwd(
        &self,
        mixed: &Tensor,
        weight: &Tensor,
        initial: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [mixed, weight, initial] = self.backward(mixed, weight, Some(initial), gradient)?;
        Ok((mixed, weight, initial))
    }
}
