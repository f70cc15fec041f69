//! Rows times lines. Lines of whole tiles are read where they are stored.

use std::ops::Range;

use super::super::lines::Lines;
use super::super::pieces::{Piece, Product};
use super::super::simd::{self, Kernel};
use super::rows::{Rows, Side};
use super::tiles::{Blocks, DEEP, PARTS, SIDE, StoredTiles, Sums, Tile, Unit, turned};
use super::{DEPTH, PAIR, cost, piece};

/// [`super::project`] on a unit that each piece of work makes for itself.
pub fn project<U: Unit>(unit: impl Fn() -> U + Sync + Send, x: &[f32], product: Product<'_>) -> Vec<f32> {
    let inner = product.inner;
    let rows = Rows::new(x, inner, Side::Columns);
    product.in_pieces(piece(product.out()), cost(rows.tiles(), product.lines), |mut piece| {
        let work = Work { unit: unit(), rows: &rows };
        match piece.lines {
            Lines::Bf16(values) => work.run(values.as_flattened(), inner, &mut piece),
            lines => work.run_blocks(lines, inner / DEEP, &mut piece),
        }
    })
}

/// Some tiles of inputs of pairs of tiles of lines.
enum Depth<'a> {
    /// Where they are stored, from an input on; lines begin `line` bytes apart.
    Stored { bytes: &'a [u8], line: usize },
    /// `[pair][block]`, `depth` blocks of each.
    Unpacked { blocks: Vec<Blocks>, depth: usize },
}

impl Depth<'_> {
    /// Adds the products of a pair with rows.
    fn add<const R: usize>(
        &self,
        unit: &impl Unit,
        pair: usize,
        rows: [&[[Tile; PARTS]]; R],
        sums: [&mut [Sums; 2]; R],
    ) {
        match self {
            Self::Stored { bytes, line } => {
                unit.add(StoredTiles { bytes: &bytes[pair * PAIR * line..], stride: *line }, rows, sums);
            }
            Self::Unpacked { blocks, depth } => unit.add_blocks(&blocks[pair * depth..][..*depth], rows, sums),
        }
    }
}

/// A range of the `whole` blocks of every line.
struct Unpack<'a> {
    lines: Lines<'a>,
    whole: usize,
    depths: Range<usize>,
}

impl Kernel for Unpack<'_> {
    type Output = Depth<'static>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Depth<'static> {
        let (count, depth) = (self.lines.len() / (self.whole * DEEP), self.depths.len());
        let none = Blocks { tiles: [Tile::zero(); 2], scales: [[0.0; SIDE]; 2] };
        let mut blocks = vec![none; count.div_ceil(PAIR) * depth];
        for line in 0..count {
            let (half, at) = (line % PAIR / SIDE, line % SIDE);
            for (to, block) in blocks[line / PAIR * depth..][..depth].iter_mut().zip(self.depths.clone()) {
                let Some((integers, scale)) = self.lines.block(line * self.whole + block) else {
                    unreachable!("lines without blocks do not fit")
                };
                to.scales[half][at] = scale;
                to.tiles[half].set(at, &integers.map(f32::to_bits));
            }
        }
        Depth::Unpacked { blocks, depth }
    }
}

/// The same lines with zeros at the end of each, up to whole tiles.
fn filled_up(bytes: &[u8], inner: usize) -> Vec<u8> {
    let (line, whole) = (2 * inner, 2 * inner.next_multiple_of(DEEP));
    let mut filled = vec![0; bytes.len() / line * whole];
    for (to, from) in filled.chunks_exact_mut(whole).zip(bytes.chunks_exact(line)) {
        to[..line].copy_from_slice(from);
    }
    filled
}

struct Work<'a, U> {
    unit: U,
    rows: &'a Rows,
}

impl<U: Unit> Work<'_, U> {
    /// All outputs of a piece; `bytes` are its lines.
    fn run(&self, bytes: &[u8], inner: usize, piece: &mut Piece<'_>) {
        let line = 2 * inner.next_multiple_of(DEEP);
        let filled = (2 * inner < line).then(|| filled_up(bytes, inner));
        let bytes = filled.as_deref().unwrap_or(bytes);
        let (whole, rest) = bytes.split_at(bytes.len() / (PAIR * line) * PAIR * line);
        self.write(piece, 0, whole.len() / line, &self.sums(whole, line));
        if !rest.is_empty() {
            // The last lines, and zeros for those that are missing.
            let mut last = vec![0; PAIR * line];
            last[..rest.len()].copy_from_slice(rest);
            self.write(piece, whole.len() / line, rest.len() / line, &self.sums(&last, line));
        }
    }

    /// The same for lines of `whole` blocks each.
    fn run_blocks(&self, lines: Lines<'_>, whole: usize, piece: &mut Piece<'_>) {
        let count = lines.len() / (whole * DEEP);
        let sums = self.by_depth(count.div_ceil(PAIR), whole, |depths| simd::run(Unpack { lines, whole, depths }));
        self.write(piece, 0, count, &sums);
    }

    fn sums(&self, bytes: &[u8], line: usize) -> Vec<[Sums; 2]> {
        self.by_depth(bytes.len() / (PAIR * line), line / (2 * DEEP), |depths| Depth::Stored {
            bytes: &bytes[(2 * DEEP * depths.start).min(bytes.len())..],
            line,
        })
    }

    /// Sums `[pair of tiles][tile of rows][tile of the pair]` of lines with every row. A depth of the lines stays in a
    /// near cache while rows pass.
    fn by_depth<'a>(&self, pairs: usize, whole: usize, of: impl Fn(Range<usize>) -> Depth<'a>) -> Vec<[Sums; 2]> {
        let tiles = self.rows.tiles();
        let mut sums = vec![[Sums::zero(); 2]; pairs * tiles];
        for from in (0..whole).step_by(DEPTH) {
            let depths = from..(from + DEPTH).min(whole);
            let lines = of(depths.clone());
            let rows = |tile| self.rows.depth(tile, depths.clone());
            for tile in (0..tiles).step_by(2) {
                for (pair, sums) in sums.chunks_exact_mut(tiles).enumerate() {
                    match &mut sums[tile..] {
                        [first, second, ..] => {
                            lines.add(&self.unit, pair, [rows(tile), rows(tile + 1)], [first, second]);
                        }
                        [last] => lines.add(&self.unit, pair, [rows(tile)], [last]),
                        [] => {}
                    }
                }
            }
        }
        sums
    }

    /// Writes `count` outputs from `at` on, of every row.
    fn write(&self, piece: &mut Piece<'_>, at: usize, count: usize, sums: &[[Sums; 2]]) {
        for (pair, sums) in sums.chunks_exact(self.rows.tiles()).enumerate() {
            for (tile, half) in (0..sums.len()).flat_map(|tile| [(tile, 0), (tile, 1)]) {
                let first = pair * PAIR + half * SIDE;
                let outputs = SIDE.min(count.saturating_sub(first));
                // [row][output]
                let values = simd::run(Turn(&sums[tile][half]));
                for (row, values) in values.as_chunks::<SIDE>().0.iter().enumerate().take(self.rows.of_tile(tile)) {
                    let row = tile * SIDE + row;
                    if outputs == SIDE {
                        piece.set(row, at + first, *values);
                    } else {
                        (0..outputs).for_each(|output| piece.set(row, at + first + output, [values[output]]));
                    }
                }
            }
        }
    }
}

struct Turn<'a>(&'a Sums);

impl Kernel for Turn<'_> {
    type Output = [f32; SIDE * SIDE];

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        turned(&self.0.0)
    }
}
