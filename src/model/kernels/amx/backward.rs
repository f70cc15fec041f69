//! What is above lines times the lines: the gradient of their inputs.

use std::ops::Range;

use super::super::lines::Lines;
use super::super::pieces::columns;
use super::super::simd::{self, Kernel};
use super::super::threads;
use super::rows::{Rows, Side};
use super::tiles::{DEEP, SIDE, Sums, Tile, Unit};
use super::{DEPTH, PAIR, cost, piece};

/// [`super::backward`] on a unit that each piece of work makes for itself.
pub fn backward<U: Unit>(
    unit: impl Fn() -> U + Sync + Send,
    above: &[f32],
    lines: Lines<'_>,
    inner: usize,
) -> Vec<f32> {
    let Lines::Bf16(stored) = lines else { unreachable!("only brain floats fit") };
    let out = lines.len() / inner;
    let rows = Rows::new(above, out, Side::Lines);
    let mut values = vec![0.0; above.len() / out * inner];
    let size = piece(inner);
    threads::each(columns(&mut values, inner, size), cost(rows.tiles(), lines), |index, mut places| {
        let inputs = index * size..((index + 1) * size).min(inner);
        Work { unit: unit(), rows: &rows, lines: stored, inner }.run(inputs, &mut places);
    });
    values
}

struct Work<'a, U> {
    unit: U,
    rows: &'a Rows,
    /// `[out, inner]`
    lines: &'a [[u8; 2]],
    inner: usize,
}

impl<U: Unit> Work<'_, U> {
    /// These inputs of every row. A depth of them stays in a near cache while rows pass.
    fn run(&self, inputs: Range<usize>, places: &mut [&mut [f32]]) {
        let (tiles, pairs) = (self.rows.tiles(), inputs.len() / PAIR);
        // [tile of rows][pair of tiles][tile of the pair]
        let mut sums = vec![[Sums::zero(); 2]; tiles * pairs];
        let all = self.lines.len() / self.inner / DEEP;
        for from in (0..all).step_by(DEPTH) {
            let depths = from..(from + DEPTH).min(all);
            let lines = &self.lines[from * DEEP * self.inner..depths.end * DEEP * self.inner];
            let columns = simd::run(Turn { lines, inner: self.inner, inputs: inputs.clone() });
            let (columns, _) = columns.as_chunks::<2>();
            for (row, sums) in sums.chunks_mut(2 * pairs).enumerate() {
                let depth = |tile| self.rows.depth(tile, depths.clone());
                let (first, second) = sums.split_at_mut(pairs);
                for (pair, [one, other]) in columns.iter().enumerate() {
                    let columns = [one.as_slice(), other];
                    match second.get_mut(pair) {
                        Some(second) => {
                            let rows = [depth(2 * row), depth(2 * row + 1)];
                            self.unit.add_back(rows, columns, [&mut first[pair], second]);
                        }
                        None => self.unit.add_back([depth(2 * row)], columns, [&mut first[pair]]),
                    }
                }
            }
        }
        for (row, place) in places.iter_mut().enumerate() {
            let sums = &sums[row / SIDE * pairs..][..pairs];
            for (place, sums) in place.chunks_exact_mut(SIDE).zip(sums.as_flattened()) {
                place.copy_from_slice(sums.of(row % SIDE));
            }
        }
    }
}

/// A depth of some inputs of lines.
struct Turn<'a> {
    lines: &'a [[u8; 2]],
    inner: usize,
    inputs: Range<usize>,
}

impl Kernel for Turn<'_> {
    /// `[tile of inputs][tile of lines]`
    type Output = Vec<Vec<Tile>>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        let depth = self.lines.len() / self.inner / DEEP;
        let mut columns = vec![vec![Tile::zero(); depth]; self.inputs.len() / SIDE];
        for (at, lines) in self.lines.chunks_exact(2 * self.inner).enumerate() {
            let (upper, lower) = lines.split_at(self.inner);
            let (upper, _) = upper[self.inputs.clone()].as_chunks::<SIDE>();
            let (lower, _) = lower[self.inputs.clone()].as_chunks::<SIDE>();
            for ((column, first), second) in columns.iter_mut().zip(upper).zip(lower) {
                let tile = &mut column[at / SIDE].0[at % SIDE * SIDE..][..SIDE];
                for ((to, first), second) in tile.iter_mut().zip(first).zip(second) {
                    *to = u32::from(u16::from_le_bytes(*first)) | (u32::from(u16::from_le_bytes(*second)) << 16);
                }
            }
        }
        columns
    }
}
