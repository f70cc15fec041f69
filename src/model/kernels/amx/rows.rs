//! Rows of 32-bit floats as sums of brain floats.

use std::ops::Range;

use super::super::simd::{self, Kernel};
use super::super::threads;
use super::tiles::{DEEP, PARTS, SIDE, Tile, UPPER, turned};

/// What splitting a value costs, in multiplications.
const COST: usize = 8;

/// How a tile holds its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `[pair][row]`: rows are multiplied with lines.
    Columns,
    /// `[row][pair]`: what rows are multiplied with is `[pair][..]`.
    Lines,
}

/// All rows.
pub struct Rows {
    count: usize,
    depth: usize,
    /// `[tile of rows][tile of inputs]`
    tiles: Vec<Vec<[Tile; PARTS]>>,
}

impl Rows {
    /// Of `x [rows, inner]`, filled up with zeros to whole tiles.
    pub fn new(x: &[f32], inner: usize, side: Side) -> Self {
        let count = x.len() / inner;
        let tiles = threads::map(count.div_ceil(SIDE), x.len() * COST, |tile| {
            let rows = &x[tile * SIDE * inner..((tile + 1) * SIDE).min(count) * inner];
            simd::run(Split { rows, inner, side })
        });
        Self { count, depth: inner.div_ceil(DEEP), tiles }
    }

    /// Tiles of rows.
    pub fn tiles(&self) -> usize {
        self.tiles.len()
    }

    /// Rows of a tile.
    pub fn of_tile(&self, tile: usize) -> usize {
        SIDE.min(self.count - tile * SIDE)
    }

    /// A range of tiles of inputs of a tile of rows.
    pub fn depth(&self, tile: usize, depths: Range<usize>) -> &[[Tile; PARTS]] {
        &self.tiles[tile][depths.start..depths.end.min(self.depth)]
    }
}

/// Up to [`SIDE`] rows.
struct Split<'a> {
    rows: &'a [f32],
    inner: usize,
    side: Side,
}

impl Kernel for Split<'_> {
    type Output = Vec<[Tile; PARTS]>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        let mut plain = [Tile::zero(); PARTS];
        let mut tiles = vec![plain; self.inner.div_ceil(DEEP)];
        for (at, tiles) in tiles.iter_mut().enumerate() {
            for (row, line) in self.rows.chunks_exact(self.inner).enumerate() {
                let line = &line[at * DEEP..self.inner.min((at + 1) * DEEP)];
                let mut rest = [0.0; DEEP];
                rest[..line.len()].copy_from_slice(line);
                plain.iter_mut().zip(&parts(&rest)).for_each(|(tile, part)| tile.set(row, part));
            }
            for (tile, plain) in tiles.iter_mut().zip(&plain) {
                tile.0 = if self.side == Side::Lines { plain.0 } else { turned(&plain.0) };
            }
        }
        tiles
    }
}

/// The parts of values, as the bits of 32-bit floats whose lower halves do not count.
#[inline(always)]
fn parts(values: &[f32; DEEP]) -> [[u32; DEEP]; PARTS] {
    let mut parts = [[0; DEEP]; PARTS];
    for (i, value) in values.iter().enumerate() {
        let first = nearest(*value);
        let rest = value - f32::from_bits(first);
        let second = nearest(rest);
        // Eight bits at most are left, so nothing is cut off; NaN stays NaN.
        let third = (rest - f32::from_bits(second)).to_bits();
        (parts[0][i], parts[1][i], parts[2][i]) = (first, second, third);
    }
    parts
}

/// The bits of the nearest brain float.
#[inline(always)]
fn nearest(value: f32) -> u32 {
    let bits = value.to_bits();
    bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) & UPPER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_value() {
        let mut values = [0.0, -0.0, 1.0, -1.0 / 3.0, 1.000_000_1, 16_777_215.0, 1e-30, -2e38, 0.1, 65_535.5]
            .iter()
            .copied()
            .cycle();
        let values: [f32; DEEP] = std::array::from_fn(|i| values.next().unwrap_or(0.0) * (1.0 + i as f32 / 64.0));
        let [first, second, third] = parts(&values);
        for (i, value) in values.iter().enumerate() {
            let [first, second, third] = [first[i], second[i], third[i]].map(|bits| {
                assert!(bits & !UPPER == 0, "{value}: more bits than a brain float has");
                f64::from(f32::from_bits(bits))
            });
            assert_eq!(first + second + third, f64::from(*value));
        }
        let lost = [f32::NAN, f32::from_bits(0x7FFF_FFFF), f32::INFINITY, f32::NEG_INFINITY];
        let [.., third] = parts(&std::array::from_fn(|i| lost[i % 4]));
        assert!(third.iter().all(|bits| f32::from_bits(bits & UPPER).is_nan()));
    }

    #[test]
    fn rows_fill_tiles_pair_by_pair() {
        let (rows, inner) = (17, 2 * DEEP);
        let x: Vec<f32> = (0..rows * inner).map(|i| (i % 251) as f32).collect();
        let tiles = Rows::new(&x, inner, Side::Columns);
        assert_eq!((tiles.tiles(), tiles.of_tile(0), tiles.of_tile(1)), (2, SIDE, 1));
        let low = |tile: usize, depth: usize, pair: usize, row: usize| {
            let both = tiles.depth(tile, depth..depth + 1)[0][0].0[pair * SIDE + row];
            (f32::from_bits(both << 16), f32::from_bits(both & UPPER))
        };
        let at = |row: usize, input: usize| x[row * inner + input];
        assert_eq!(low(0, 0, 0, 3), (at(3, 0), at(3, 1)));
        assert_eq!(low(0, 1, 15, 5), (at(5, inner - 2), at(5, inner - 1)));
        assert_eq!(low(1, 0, 2, 0), (at(16, 4), at(16, 5)));
        assert_eq!(low(1, 0, 2, 1), (0.0, 0.0));
        let turned = Rows::new(&x, inner, Side::Lines);
        for (row, pair) in [(0, 0), (3, 15), (15, 7)] {
            let at = |tile: &Tile, first, second| tile.0[first * SIDE + second];
            let (tile, other) = (&tiles.depth(0, 1..2)[0][0], &turned.depth(0, 1..2)[0][0]);
            assert_eq!(at(tile, pair, row), at(other, row, pair));
        }
    }
}
