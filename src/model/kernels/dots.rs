//! Scalar products of very few rows with stored lines, as in a decode step: the cost is reading the weight. A line is
//! read from its beginning to its end, a tile of it is widened in the nearest cache, and every row is multiplied with
//! it there.
//!
//! Every value is summed in one order, so it depends neither on the other rows nor on threads.

use pulp::{Simd, WithSimd, bytemuck};

use super::lines::Lines;

/// Most rows: with more, rows fill the lanes of a vector themselves.
pub const MOST_ROWS: usize = 8;
/// Values that are multiplied without a look at how many there are: lines and rows are filled up with zeros.
const STEP: usize = 128;
/// Values of a line that are widened at a time.
const TILE: usize = 4 * STEP;
/// How far ahead values are asked for: multiplying leaves memory no time to rest.
const AHEAD: usize = 4 * TILE;
/// Sums of a row that are added up at the end: as many multiplications can be under way.
const SUMS: usize = 2;

/// Rows `[rows, inner]`, each filled up to whole steps.
pub struct Rows {
    values: Vec<f32>,
    count: usize,
    inner: usize,
}

impl Rows {
    /// Of at most [`MOST_ROWS`] rows.
    pub fn new(x: &[f32], inner: usize) -> Self {
        let (count, width) = (x.len() / inner, inner.next_multiple_of(STEP));
        let mut values = vec![0.0; count * width];
        for (to, from) in values.chunks_exact_mut(width).zip(x.chunks_exact(inner)) {
            to[..inner].copy_from_slice(from);
        }
        Self { values, count, inner }
    }

    /// A step of `R` rows.
    #[inline(always)]
    fn step<const R: usize>(&self, first: usize, step: usize) -> [&[f32; STEP]; R] {
        let steps = self.inner.div_ceil(STEP);
        std::array::from_fn(|row| &self.values.as_chunks().0[(first + row) * steps + step])
    }
}

/// `rows @ lines [outputs, inner]^T`.
pub struct Dots<'a> {
    /// The rows.
    pub rows: &'a Rows,
    /// Whole lines.
    pub lines: Lines<'a>,
}

impl WithSimd for Dots<'_> {
    /// `[rows, outputs]`.
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        // Four rows at a time have their sums in registers.
        match self.rows.count {
            1 => self.run::<S, 1, 0>(simd),
            2 => self.run::<S, 2, 0>(simd),
            3 => self.run::<S, 3, 0>(simd),
            4 => self.run::<S, 4, 0>(simd),
            5 => self.run::<S, 4, 1>(simd),
            6 => self.run::<S, 4, 2>(simd),
            7 => self.run::<S, 4, 3>(simd),
            _ => self.run::<S, 4, 4>(simd),
        }
    }
}

impl Dots<'_> {
    /// `A` rows, and then `B` rows.
    #[inline(always)]
    fn run<S: Simd, const A: usize, const B: usize>(&self, simd: S) -> Vec<f32> {
        let inner = self.rows.inner;
        let out = self.lines.len() / inner;
        let mut target = vec![0.0; (A + B) * out];
        let mut tile = [[0.0; STEP]; TILE / STEP];
        for at in 0..out {
            let (mut first, mut second) = ([[simd.splat_f32s(0.0); SUMS]; A], [[simd.splat_f32s(0.0); SUMS]; B]);
            for from in (0..inner).step_by(TILE) {
                let count = TILE.min(inner - from);
                let soon = at * inner + from + AHEAD;
                self.lines.prefetch(soon, soon + count);
                let values = tile.as_flattened_mut();
                self.lines.widen_on(simd, at * inner + from, &mut values[..count]);
                values[count..count.next_multiple_of(STEP)].fill(0.0);
                for (step, line) in tile[..count.div_ceil(STEP)].iter().enumerate() {
                    add(simd, line, self.rows.step::<A>(0, from / STEP + step), &mut first);
                    add(simd, line, self.rows.step::<B>(A, from / STEP + step), &mut second);
                }
            }
            for (row, sums) in first.into_iter().chain(second).enumerate() {
                target[row * out + at] = total::<S>(simd.add_f32s(sums[0], sums[1]));
            }
        }
        target
    }
}

/// Adds the products of one step.
#[inline(always)]
fn add<S: Simd, const R: usize>(simd: S, line: &[f32; STEP], x: [&[f32; STEP]; R], sums: &mut [[S::f32s; SUMS]; R]) {
    let mut all = *sums;
    let (line, _) = S::as_simd_f32s(line);
    for k in 0..STEP / S::F32_LANES {
        for (sums, x) in all.iter_mut().zip(&x) {
            sums[k % SUMS] = simd.mul_add_e_f32s(line[k], S::as_simd_f32s(*x).0[k], sums[k % SUMS]);
        }
    }
    *sums = all;
}

/// The sum of the lanes.
#[inline(always)]
fn total<S: Simd>(sum: S::f32s) -> f32 {
    const MOST_LANES: usize = 16;
    let mut parts = [0.0_f32; MOST_LANES];
    for (part, lane) in parts.iter_mut().zip(bytemuck::cast_slice::<_, f32>(&[sum])) {
        *part = *lane;
    }
    let mut width = MOST_LANES / 2;
    while width > 0 {
        for i in 0..width {
            parts[i] += parts[i + width];
        }
        width /= 2;
    }
    parts[0]
}
