//! Small-M GEMM: `x @ weight^T` for few rows of `x`, as in a decode step, a short prompt or an image.
//!
//! General matrix products first pack both operands into blocks. That pays off when each block is used often; for few
//! rows packing the weight costs several times the product. Here the weight is read once, in place, and the few rows
//! are transposed instead: they become the lanes of a vector, so that no sum runs across lanes. Every value is summed
//! in the order of the inputs, so it depends neither on the other rows nor on threads. Lines that are narrower than 32
//! bits are widened a tile at a time; the fewest rows take them as [`super::dots`] does.

use pulp::{Arch, Simd, WithSimd};

use super::dots::{Dots, MOST_ROWS, Rows};
use super::lines::Lines;
use super::pieces::{Piece, Product};
use super::product::{Matrix, product};
use super::{simd, threads, tile};

/// Rows from which a general product is as fast.
const MANY: usize = 256;
/// Rows from which widening a panel of narrow lines for a general product is as fast.
const MANY_OF_LINES: usize = 512;
/// Outputs of a tile: as many independent sums keep the multipliers busy.
const OUTPUTS: usize = 8;
/// Most outputs of a piece of work: whole tiles, enough of them to be worth a thread for few rows.
const PIECE: usize = 16 * OUTPUTS;
/// Fewest outputs of a piece of work: the rows are read once for each.
const SMALL_PIECE: usize = 4 * OUTPUTS;
/// Inputs that a tile takes at a time.
const DEPTH: usize = 256;
/// How far ahead narrow lines are asked for.
const AHEAD: usize = DEPTH;
/// What turning a value costs, in multiplications.
const TURN_COST: usize = 8;
/// Inputs of several rows that are turned at a time, so that they stay in the nearest cache.
const TURNED: usize = 64;
/// Values of rows that stay in a near cache.
const NEAR: usize = 1 << 17;
/// Values of a piece of work that costs as much as reading them.
const READ_PIECE: usize = 1 << 16;
/// Values from which reading them is worth a second thread.
const READ_SHARED: usize = 1 << 19;

/// Is [`project`] faster than a general product for this number of rows?
pub fn fits(rows: usize) -> bool {
    (2..=MANY).contains(&rows)
}

/// Can [`project_lines`] take this number of rows?
pub fn fits_lines(rows: usize) -> bool {
    (1..=MANY_OF_LINES).contains(&rows)
}

/// `x [rows, inner] @ weight [out, inner]^T + bias [out]`, row-major.
pub fn project(x: &[f32], weight: &[f32], inner: usize, bias: Option<&[f32]>) -> Vec<f32> {
    in_lanes(x, Product { rows: x.len() / inner, inner, lines: Lines::F32(weight), bias })
}

/// The same with lines of any kind.
pub fn project_lines(x: &[f32], lines: Lines<'_>, inner: usize, bias: Option<&[f32]>) -> Vec<f32> {
    let product = Product { rows: x.len() / inner, inner, lines, bias };
    if product.rows > MOST_ROWS {
        return in_lanes(x, product);
    }
    let share = lines.len() >= READ_SHARED;
    let size = if share { (READ_PIECE / inner).next_multiple_of(OUTPUTS) } else { product.out() };
    let rows = Rows::new(x, inner);
    product.in_pieces(size.max(1), if share { threads::WORTH_SHARING } else { 0 }, |piece| {
        simd::run(Dots { rows: &rows, piece });
    })
}

/// Rows as lanes.
fn in_lanes(x: &[f32], product: Product<'_>) -> Vec<f32> {
    let Product { rows, inner, lines, .. } = product;
    let multiplications = rows * lines.len();
    let size = if threads::worth_sharing(multiplications) {
        (threads::WORTH_SHARING / (rows * inner)).clamp(SMALL_PIECE, PIECE).next_multiple_of(OUTPUTS)
    } else {
        product.out().max(1)
    };
    let columns = Columns::of(x, inner);
    product.in_pieces(size, multiplications, |piece| {
        Arch::new().dispatch(Project { columns: &columns, inner, rows, piece });
    })
}

/// `x [inner] @ weight [out, inner]^T + bias [out]`: the product of one row, which cannot fill the lanes. It costs as
/// much as reading the weight, which the general product does well on one thread: here all threads read a large one.
/// The pieces depend on the size alone, so bits do not depend on the number of threads.
pub fn project_row(x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (inner, out) = (x.len(), weight.len() / x.len().max(1));
    let piece = if weight.len() < threads::WORTH_SHARING { out.max(1) } else { PIECE };
    let mut values = bias.map_or_else(|| vec![0.0; out], <[f32]>::to_vec);
    threads::map_chunks(&mut values, piece, weight.len(), |index, values| {
        let lines = &weight[index * piece * inner..][..values.len() * inner];
        let lines = Matrix::new(lines, values.len(), inner, inner);
        product(values, values.len(), bias.is_some(), Matrix::new(x, 1, inner, inner), lines.t());
    });
    values
}

/// Rows as lanes: up to two vectors of rows, `[inner][vectors * lanes]`, missing rows 0.
struct Columns {
    first_row: usize,
    rows: usize,
    width: usize,
    values: Vec<f32>,
}

impl Columns {
    /// Of `x [rows, inner]`.
    fn of(x: &[f32], inner: usize) -> Vec<Self> {
        let widest = Arch::new().dispatch(Widest);
        let total = x.len() / inner;
        threads::map(total.div_ceil(widest), x.len() * TURN_COST, |index| {
            let rows = index * widest..((index + 1) * widest).min(total);
            let x = &x[rows.start * inner..rows.end * inner];
            Arch::new().dispatch(Turn { x, inner, first_row: rows.start })
        })
    }
}

/// Rows of [`Columns`]: two vectors share what is read of the weight.
struct Widest;

impl WithSimd for Widest {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        2 * S::F32_LANES
    }
}

struct Turn<'a> {
    x: &'a [f32],
    inner: usize,
    first_row: usize,
}

impl WithSimd for Turn<'_> {
    type Output = Columns;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Columns {
        let rows = self.x.len() / self.inner;
        let width = rows.next_multiple_of(S::F32_LANES);
        let mut values = vec![0.0; width * self.inner];
        for (index, block) in values.chunks_mut(TURNED * width).enumerate() {
            for (lane, line) in self.x.chunks_exact(self.inner).enumerate() {
                let line = &line[index * TURNED..];
                block[lane..].iter_mut().step_by(width).zip(line).for_each(|(to, from)| *to = *from);
            }
        }
        Columns { first_row: self.first_row, rows, width, values }
    }
}

struct Project<'a> {
    columns: &'a [Columns],
    inner: usize,
    rows: usize,
    piece: Piece<'a>,
}

impl WithSimd for Project<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let out = self.piece.lines.len() / self.inner;
        let whole = out / OUTPUTS * OUTPUTS;
        let group = self.group().min(whole.max(OUTPUTS));
        let mut room = self.room(group);
        for at in (0..whole).step_by(group) {
            let count = group.min(whole - at) / OUTPUTS;
            self.tiles::<S, OUTPUTS>(simd, (at, count), &mut room);
        }
        for at in whole..out {
            self.tiles::<S, 1>(simd, (at, 1), &mut room);
        }
    }
}

/// What a group of tiles needs: sums `[tile][columns][output][width]`, and a depth of widened lines.
struct Room {
    sums: Vec<f32>,
    wide: Vec<f32>,
    width: usize,
    depth: usize,
}

impl Project<'_> {
    /// Outputs that take a depth of the rows one after the other. Rows that stay in a near cache are read again for
    /// every tile, so that lines are read from their beginning to their end; others are read once a group.
    fn group(&self) -> usize {
        let whole = matches!(self.piece.lines, Lines::F32(_));
        if whole || self.rows * self.inner <= NEAR { OUTPUTS } else { PIECE }
    }

    /// Lines of 32 bits are multiplied where they are, from their beginning to their end.
    fn room(&self, group: usize) -> Room {
        let width = self.columns.iter().map(|columns| columns.width).sum();
        let (depth, outputs) = match self.piece.lines {
            Lines::F32(_) => (self.inner, 0),
            _ => (DEPTH, OUTPUTS),
        };
        Room { sums: vec![0.0; width * group], wide: vec![0.0; outputs * depth], width, depth }
    }

    /// `count` tiles of `O` outputs each from `at` on, of every row. Lines and rows are cut into depths, so that a
    /// tile's part of both stays in the nearest cache.
    #[inline(always)]
    fn tiles<S: Simd, const O: usize>(&mut self, simd: S, (at, count): (usize, usize), room: &mut Room) {
        let size = O * room.width;
        for from in (0..self.inner).step_by(room.depth) {
            let depth = room.depth.min(self.inner - from);
            for (tile, sums) in room.sums[..count * size].chunks_exact_mut(size).enumerate() {
                let first = (at + tile * O) * self.inner + from;
                let weight: [&[f32]; O] = if let Lines::F32(values) = self.piece.lines {
                    std::array::from_fn(|o| &values[first + o * self.inner..][..depth])
                } else {
                    for (o, line) in room.wide.chunks_exact_mut(DEPTH).take(O).enumerate() {
                        let line_at = first + o * self.inner;
                        self.piece.lines.prefetch(line_at + AHEAD, line_at + AHEAD + DEPTH);
                        self.piece.lines.widen_on(simd, line_at, &mut line[..depth]);
                    }
                    std::array::from_fn(|o| &room.wide[o * DEPTH..][..depth])
                };
                let mut sums = sums;
                for columns in self.columns {
                    let (own, rest) = sums.split_at_mut(O * columns.width);
                    let x = &columns.values[from * columns.width..][..depth * columns.width];
                    tile::add(simd, x, weight, own, from == 0);
                    sums = rest;
                }
            }
        }
        for (tile, sums) in room.sums[..count * size].chunks_exact(size).enumerate() {
            let mut sums = sums;
            for columns in self.columns {
                let (own, rest) = sums.split_at(O * columns.width);
                let at = at + tile * O;
                for row in 0..columns.rows {
                    // [output][row] of the tile
                    let values = std::array::from_fn(|o| own[o * columns.width + row]);
                    self.piece.set::<O>(columns.first_row + row, at, values);
                }
                sums = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|i| (i * step % 17) as f32 / 8.0 - 1.0).collect()
    }

    #[test]
    fn every_shape_gives_the_scalar_products() {
        for (rows, inner, out) in [
            (1, 5, 3),
            (2, 7, 8),
            (9, 16, 17),
            (16, 3, 24),
            (31, 33, 9),
            (70, 8, 1),
            (100, 1, 300),
            (8, 64, 9),
            (16, 150, 17),
        ] {
            let (x, weight, bias) = (values(rows * inner, 5), values(out * inner, 7), values(out, 3));
            for bias in [None, Some(bias.as_slice())] {
                let product = project(&x, &weight, inner, bias);
                for (index, value) in product.iter().enumerate() {
                    let (row, output) = (index / out, index % out);
                    let pairs = x[row * inner..][..inner].iter().zip(&weight[output * inner..][..inner]);
                    let want = pairs.map(|(a, b)| a * b).sum::<f32>() + bias.map_or(0.0, |bias| bias[output]);
                    assert!((value - want).abs() < 1e-5, "{rows} x {inner} x {out}: {value} for {want}");
                }
                let lines = project_lines(&x, Lines::F32(&weight), inner, bias);
                assert!(lines.iter().zip(&product).all(|(a, b)| (a - b).abs() < 1e-5), "{rows} x {inner} x {out}");
            }
        }
    }

    #[test]
    fn a_single_row_gives_the_scalar_products() {
        for (inner, out) in [(1, 1), (5, 3), (16, 4), (33, 9), (70, 300), (2_048, 1_100)] {
            let (x, weight, bias) = (values(inner, 5), values(out * inner, 7), values(out, 3));
            for bias in [None, Some(bias.as_slice())] {
                let product = project_row(&x, &weight, bias);
                assert_eq!(product.len(), out);
                for (output, value) in product.iter().enumerate() {
                    let pairs = x.iter().zip(&weight[output * inner..][..inner]);
                    let want = pairs.map(|(a, b)| f64::from(a * b)).sum::<f64>()
                        + bias.map_or(0.0, |bias| f64::from(bias[output]));
                    assert!((f64::from(*value) - want).abs() < 1e-3, "{inner} x {out}: {value} for {want}");
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_other_rows() {
        let (inner, out) = (40, 200);
        let (x, weight) = (values(50 * inner, 5), values(out * inner, 7));
        let all = project(&x, &weight, inner, None);
        for count in [2, 3, 17, 33] {
            assert_eq!(project(&x[..count * inner], &weight, inner, None), all[..count * out]);
        }
        let narrow: Vec<[u8; 2]> = weight.iter().map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect();
        let of = |rows: usize| project_lines(&x[..rows * inner], Lines::Bf16(&narrow), inner, None);
        for counts in [1..5, 5..50] {
            let all = of(counts.end - 1);
            for count in counts {
                // Rows are apart by the same number of outputs in both.
                assert_eq!(of(count), all[..count * out], "{count} rows");
            }
        }
    }
}
