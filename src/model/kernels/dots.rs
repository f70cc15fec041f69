//! Scalar products of very few rows with stored lines, as in a decode step: the cost is reading the weight. A line is
//! read from its beginning to its end, a tile of it is widened in the nearest cache, and every row is multiplied with
//! it there.
//!
//! Every value is summed in one order, so it depends neither on the other rows nor on threads.

use pulp::{Simd, WithSimd, bytemuck};

use super::pieces::Piece;

/// Most rows: with more, rows fill the lanes of a vector themselves.
pub const MOST_ROWS: usize = 4;
/// Values that are multiplied without a look at how many there are: lines and rows are filled up with zeros.
const STEP: usize = 128;
/// Values of a line that are widened at a time.
const TILE: usize = 4 * STEP;
/// How far ahead values are asked for: multiplying leaves memory no time to rest.
const AHEAD: usize = 4 * TILE;

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

    /// `R` rows from this value on, which begins a step.
    #[inline(always)]
    fn tile<const R: usize>(&self, from: usize) -> [&[[f32; STEP]]; R] {
        let steps = self.inner.div_ceil(STEP);
        std::array::from_fn(|row| &self.values.as_chunks().0[row * steps..][from / STEP..steps])
    }
}

/// Outputs `rows @ lines^T` of a piece.
pub struct Dots<'a> {
    /// The rows.
    pub rows: &'a Rows,
    /// The outputs.
    pub piece: Piece<'a>,
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Enough sums to hide how long a multiplication takes, as many as there are registers for.
        if S::REGISTER_COUNT >= 32 {
            self.of_rows::<S, 4>(simd);
        } else {
            self.of_rows::<S, 2>(simd);
        }
    }
}

impl Dots<'_> {
    #[inline(always)]
    fn of_rows<S: Simd, const SUMS: usize>(self, simd: S) {
        match self.rows.count {
            1 => self.run::<S, 1, SUMS>(simd),
            2 => self.run::<S, 2, SUMS>(simd),
            3 => self.run::<S, 3, SUMS>(simd),
            _ => self.run::<S, MOST_ROWS, SUMS>(simd),
        }
    }

    #[inline(always)]
    fn run<S: Simd, const R: usize, const SUMS: usize>(self, simd: S) {
        let Self { rows, mut piece } = self;
        let inner = rows.inner;
        let mut tile = [[0.0; STEP]; TILE / STEP];
        for at in 0..piece.lines.len() / inner {
            let mut sums = [[simd.splat_f32s(0.0); SUMS]; R];
            for from in (0..inner).step_by(TILE) {
                let count = TILE.min(inner - from);
                let soon = at * inner + from + AHEAD;
                piece.lines.prefetch(soon, soon + count);
                let values = tile.as_flattened_mut();
                piece.lines.widen_on(simd, at * inner + from, &mut values[..count]);
                values[count..count.next_multiple_of(STEP)].fill(0.0);
                let (tile, rows) = (&tile[..count.div_ceil(STEP)], rows.tile::<R>(from));
                add(simd, tile, rows, &mut sums);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                let mut all = sums[0];
                for sum in &sums[1..] {
                    all = simd.add_f32s(all, *sum);
                }
                piece.set(row, at, [total::<S>(all)]);
            }
        }
    }
}

/// Adds the products of a tile: its own sums stay in registers.
#[inline(always)]
fn add<S: Simd, const R: usize, const SUMS: usize>(
    simd: S,
    tile: &[[f32; STEP]],
    rows: [&[[f32; STEP]]; R],
    totals: &mut [[S::f32s; SUMS]; R],
) {
    let tile = vectors::<S, SUMS>(tile);
    let rows = rows.map(
        #[inline(always)]
        |row| &vectors::<S, SUMS>(row)[..tile.len()],
    );
    let mut sums = [[simd.splat_f32s(0.0); SUMS]; R];
    for (at, line) in tile.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let x = &row[at];
            for k in 0..SUMS {
                sums[k] = simd.mul_add_e_f32s(line[k], x[k], sums[k]);
            }
        }
    }
    for (totals, sums) in totals.iter_mut().zip(&sums) {
        for k in 0..SUMS {
            totals[k] = simd.add_f32s(totals[k], sums[k]);
        }
    }
}

/// As many vectors together as there are sums: a step consists of them.
#[inline(always)]
fn vectors<S: Simd, const SUMS: usize>(steps: &[[f32; STEP]]) -> &[[S::f32s; SUMS]] {
    let (vectors, _) = S::as_simd_f32s(steps.as_flattened());
    vectors.as_chunks().0
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
