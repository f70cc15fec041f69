//! Scalar products of very few rows with stored lines, as in a decode step: the cost is reading the weight. A line is
//! read from its beginning to its end; its values are widened in registers, and multiplied with every row there.
//!
//! Every value is summed in one order, so it depends neither on the other rows nor on threads.

use super::lines::{BLOCK, Lines};
use super::pieces::Piece;
use super::simd::{self, Kernel, mul_add};

/// Most rows: with more, rows fill the lanes of a vector themselves.
pub const MOST_ROWS: usize = 4;
/// Blocks of a line between two looks at what comes next.
const TILE: usize = 16;
/// How far ahead values are asked for: multiplying leaves memory no time to rest.
const AHEAD: usize = 4 * TILE * BLOCK;

/// Rows `[rows, inner]`, each filled up to whole blocks.
pub struct Rows {
    values: Vec<[f32; BLOCK]>,
    count: usize,
    inner: usize,
}

impl Rows {
    /// Of at most [`MOST_ROWS`] rows.
    pub fn new(x: &[f32], inner: usize) -> Self {
        let (count, blocks) = (x.len() / inner, inner.div_ceil(BLOCK));
        let mut values = vec![[0.0; BLOCK]; count * blocks];
        for (to, from) in values.chunks_exact_mut(blocks).zip(x.chunks_exact(inner)) {
            to.as_flattened_mut()[..inner].copy_from_slice(from);
        }
        Self { values, count, inner }
    }

    fn row(&self, index: usize) -> &[[f32; BLOCK]] {
        let blocks = self.inner.div_ceil(BLOCK);
        &self.values[index * blocks..][..blocks]
    }
}

/// Outputs `rows @ lines^T` of a piece.
pub struct Dots<'a> {
    /// The rows.
    pub rows: &'a Rows,
    /// The outputs.
    pub piece: Piece<'a>,
}

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        match self.rows.count {
            1 => self.of_rows::<FMA, 1>(),
            2 => self.of_rows::<FMA, 2>(),
            3 => self.of_rows::<FMA, 3>(),
            _ => self.of_rows::<FMA, MOST_ROWS>(),
        }
    }
}

impl Dots<'_> {
    #[inline(always)]
    fn of_rows<const FMA: bool, const R: usize>(mut self) {
        let inner = self.rows.inner;
        let x: [&[[f32; BLOCK]]; R] = std::array::from_fn(|row| self.rows.row(row));
        for at in 0..self.piece.lines.len() / inner {
            let sums = dots::<FMA, R>(self.piece.lines, at * inner, inner, x);
            for (row, sum) in sums.into_iter().enumerate() {
                self.piece.set(row, at, [sum]);
            }
        }
    }
}

/// The line of `inner` values from `from` on, times each of the rows `x`: their sums stay in registers.
#[inline(always)]
fn dots<const FMA: bool, const R: usize>(
    lines: Lines<'_>,
    from: usize,
    inner: usize,
    x: [&[[f32; BLOCK]]; R],
) -> [f32; R] {
    let (mut sums, whole) = ([[0.0; BLOCK]; R], inner / BLOCK);
    for first in (0..whole).step_by(TILE) {
        let (start, count) = (from + first * BLOCK, TILE.min(whole - first));
        lines.prefetch(start + AHEAD, start + AHEAD + count * BLOCK);
        let x = x.map(
            #[inline(always)]
            |row| &row[first..first + count],
        );
        lines.in_blocks(
            start,
            count,
            #[inline(always)]
            |block, values| add::<FMA, R>(&mut sums, &values, x, block),
        );
    }
    if whole * BLOCK < inner {
        let mut rest = [0.0; BLOCK];
        lines.widen(from + whole * BLOCK, &mut rest[..inner - whole * BLOCK]);
        add::<FMA, R>(&mut sums, &rest, x, whole);
    }
    sums.map(
        #[inline(always)]
        |sums| simd::sum(&sums),
    )
}

/// Adds the products of one block.
#[inline(always)]
fn add<const FMA: bool, const R: usize>(
    sums: &mut [[f32; BLOCK]; R],
    values: &[f32; BLOCK],
    x: [&[[f32; BLOCK]]; R],
    block: usize,
) {
    for r in 0..R {
        let row = &x[r][block];
        for i in 0..BLOCK {
            sums[r][i] = mul_add::<FMA>(values[i], row[i], sums[r][i]);
        }
    }
}
