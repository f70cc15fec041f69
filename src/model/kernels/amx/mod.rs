//! Products of 32-bit rows with stored lines on the matrix unit of x86 processors (AMX).
//!
//! The unit multiplies brain floats and adds the products in 32 bits. A 32-bit float is the sum of three brain floats,
//! without an error: its first eight bits, the next eight, and the last. So three products of the unit give that of the
//! rows as they are; sums are rounded, as in every product, and nothing else. What is smaller than 1e-38 counts as 0,
//! and what is not finite gives NaN. Integers of blocks are brain floats, too; the products of each block are scaled.
//!
//! Every value is summed in one order, so it depends neither on the other rows nor on threads.

mod backward;
mod forward;
mod rows;
mod tiles;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod unit;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_unit.rs"]
mod unit;

use super::lines::Lines;
use super::pieces::Product;
use super::threads;
use tiles::{DEEP, SIDE};
use unit::Amx;

/// Lines or inputs that the unit takes at a time: two tiles, which share what is read of the rows.
const PAIR: usize = 2 * SIDE;
/// Most lines or inputs of a piece of work: their part of a depth stays in a near cache.
const PIECE: usize = 4 * PAIR;
/// Tiles of a depth.
const DEPTH: usize = 1024 / DEEP;
/// Rows from which turning integers into brain floats pays off.
const MANY: usize = 128;
/// How many multiplications the unit does while other instructions do one.
const FASTER: usize = 4;

/// Is the unit of this machine the fastest for [`project`] with this number of rows?
pub fn fits(rows: usize, lines: Lines<'_>) -> bool {
    let fewest = match lines {
        Lines::Bf16(_) => 1,
        Lines::Q8(_) | Lines::Q4(_) => MANY,
        Lines::F32(_) | Lines::F16(_) => return false,
    };
    rows >= fewest && lines.len() > 0 && unit::is_there()
}

/// Is there one for [`backward`]? Lines and their values have to be whole tiles.
pub fn fits_back(lines: Lines<'_>, inner: usize) -> bool {
    let whole = inner > 0 && inner.is_multiple_of(DEEP) && (lines.len() / inner).is_multiple_of(DEEP);
    whole && matches!(lines, Lines::Bf16(_)) && unit::is_there()
}

/// What a product of this many tiles of rows costs, in multiplications without a unit.
fn cost(tiles: usize, lines: Lines<'_>) -> usize {
    tiles * SIDE * lines.len() / FASTER
}

/// How many of `count` lines or inputs a piece of work has: several pieces for each thread.
fn piece(count: usize) -> usize {
    (count / (4 * threads::available().max(1))).clamp(PAIR, PIECE) / PAIR * PAIR
}

/// `x [rows, inner] @ lines [out, inner]^T + bias [out]`, row-major.
pub fn project(x: &[f32], product: Product<'_>) -> Vec<f32> {
    forward::project(Amx::new, x, product)
}

/// `above [rows, out] @ lines [out, inner]`, row-major.
pub fn backward(above: &[f32], lines: Lines<'_>, inner: usize) -> Vec<f32> {
    backward::backward(Amx::new, above, lines, inner)
}

#[cfg(test)]
mod tests {
    use super::super::lines::{Q4_BYTES, Q8_BYTES, widen};
    use super::super::pack::{pack_q4, pack_q8};
    use super::tiles::{Blocks, PARTS, StoredTiles, Sums, Tile, Unit};
    use super::*;

    /// What the unit does, by ordinary instructions.
    struct Plain;

    fn brain(bits: u32) -> f32 {
        f32::from_bits(bits << 16)
    }

    /// The sum of both products.
    fn pair(a: u32, b: u32) -> f32 {
        brain(a & 0xFFFF) * brain(b & 0xFFFF) + brain(a >> 16) * brain(b >> 16)
    }

    impl Unit for Plain {
        fn add<const R: usize>(&self, lines: StoredTiles<'_>, rows: [&[[Tile; PARTS]]; R], sums: [&mut [Sums; 2]; R]) {
            for (row, sums) in rows.into_iter().zip(sums) {
                assert!(lines.reach(row.len()));
                for (depth, part) in
                    row.iter().enumerate().flat_map(|(at, parts)| parts.iter().map(move |part| (at, part)))
                {
                    for (line, column) in (0..PAIR).flat_map(|line| (0..SIDE).map(move |column| (line, column))) {
                        let values = &lines.bytes[line * lines.stride + 2 * DEEP * depth..][..2 * DEEP];
                        let values = values.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
                        let products = values.enumerate().map(|(at, both)| pair(both, part.0[at * SIDE + column]));
                        sums[line / SIDE].0[line % SIDE * SIDE + column] += products.sum::<f32>();
                    }
                }
            }
        }

        fn add_blocks<const R: usize>(&self, lines: &[Blocks], rows: [&[[Tile; PARTS]]; R], sums: [&mut [Sums; 2]; R]) {
            for (row, sums) in rows.into_iter().zip(sums) {
                assert_eq!(row.len(), lines.len());
                for (block, parts) in lines.iter().zip(row) {
                    for (line, column) in (0..PAIR).flat_map(|line| (0..SIDE).map(move |column| (line, column))) {
                        let (half, line) = (line / SIDE, line % SIDE);
                        let of = |at: usize, part: &Tile| {
                            pair(block.tiles[half].0[line * SIDE + at], part.0[at * SIDE + column])
                        };
                        let products = parts.iter().flat_map(|part| (0..SIDE).map(move |at| of(at, part)));
                        sums[half].0[line * SIDE + column] += block.scales[half][line] * products.sum::<f32>();
                    }
                }
            }
        }

        fn add_back<const R: usize>(
            &self,
            rows: [&[[Tile; PARTS]]; R],
            columns: [&[Tile]; 2],
            sums: [&mut [Sums; 2]; R],
        ) {
            for (tiles, sums) in rows.into_iter().zip(sums) {
                for (columns, sums) in columns.iter().zip(sums) {
                    assert_eq!(columns.len(), tiles.len());
                    for (column, part) in
                        columns.iter().zip(tiles).flat_map(|(column, parts)| parts.map(|part| (column, part)))
                    {
                        for (row, input) in (0..SIDE).flat_map(|row| (0..SIDE).map(move |input| (row, input))) {
                            let products =
                                (0..SIDE).map(|at| pair(part.0[row * SIDE + at], column.0[at * SIDE + input]));
                            sums.0[row * SIDE + input] += products.sum::<f32>();
                        }
                    }
                }
            }
        }
    }

    fn values(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * step) as f32).sin()).collect()
    }

    fn narrow(values: &[f32]) -> Vec<[u8; 2]> {
        values.iter().map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect()
    }

    /// Values of a product over a depth, against the sums of these pairs in 64 bits.
    fn assert_sums<P: Iterator<Item = (f32, f32)>>(found: &[f32], depth: usize, pairs: impl Fn(usize) -> P) {
        for (index, found) in found.iter().enumerate() {
            let want: f64 = pairs(index).map(|(a, b)| f64::from(a) * f64::from(b)).sum();
            let error = (f64::from(*found) - want).abs();
            assert!(error < 2e-6 * (depth as f64).sqrt(), "value {index}, depth {depth}: {found} for {want}");
        }
    }

    const SHAPES: [(usize, usize, usize); 6] =
        [(1, 32, 1), (3, 64, 16), (16, 96, 31), (17, 2048, 33), (40, 1056, 300), (5, 45, 128)];

    /// Products with these lines, against those with what they are widened to.
    fn check_lines(project: &impl Fn(&[f32], Product<'_>) -> Vec<f32>, rows: usize, inner: usize, lines: Lines<'_>) {
        let out = lines.len() / inner;
        let (x, bias, mut wide) = (values(rows * inner, 7), values(out, 3), vec![0.0; out * inner]);
        widen(lines, 0, &mut wide);
        for bias in [None, Some(bias.as_slice())] {
            let found = project(&x, Product { rows, inner, lines, bias });
            assert_eq!(found.len(), rows * out);
            assert_sums(&found, inner, |index| {
                let (row, output) = (index / out, index % out);
                let line = wide[output * inner..][..inner].iter().copied();
                let bias = bias.map(|bias| (bias[output], 1.0));
                x[row * inner..][..inner].iter().copied().zip(line).chain(bias)
            });
        }
    }

    fn check_forward(project: impl Fn(&[f32], Product<'_>) -> Vec<f32>) {
        for (rows, inner, out) in SHAPES {
            check_lines(&project, rows, inner, Lines::Bf16(&narrow(&values(out * inner, 5))));
            let whole = inner.next_multiple_of(DEEP);
            let weight = values(out * whole, 5);
            let (mut eight, mut four) =
                (vec![[0; Q8_BYTES]; out * whole / DEEP], vec![[0; Q4_BYTES]; out * whole / DEEP]);
            pack_q8(&weight, &mut eight);
            pack_q4(&weight, &mut four);
            check_lines(&project, rows, whole, Lines::Q8(&eight));
            check_lines(&project, rows, whole, Lines::Q4(&four));
        }
    }

    fn check_backward(backward: impl Fn(&[f32], Lines<'_>, usize) -> Vec<f32>) {
        for (rows, inner, out) in SHAPES {
            let (inner, out) = (inner.next_multiple_of(DEEP), out.next_multiple_of(DEEP));
            let (above, weight) = (values(rows * out, 7), narrow(&values(out * inner, 5)));
            let found = backward(&above, Lines::Bf16(&weight), inner);
            assert_eq!(found.len(), rows * inner);
            assert_sums(&found, out, |index| {
                let (row, input) = (index / inner, index % inner);
                let column =
                    weight[input..].iter().step_by(inner).map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32());
                above[row * out..][..out].iter().copied().zip(column)
            });
        }
    }

    #[test]
    fn products_are_those_of_the_rows_as_they_are() {
        check_forward(|x, product| forward::project(|| Plain, x, product));
        check_backward(|above, lines, inner| backward::backward(|| Plain, above, lines, inner));
    }

    #[test]
    fn the_unit_multiplies_alike_where_there_is_one() {
        if unit::is_there() {
            check_forward(project);
            check_backward(backward);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_other_rows() {
        let (inner, out) = (1056, 96);
        let (x, above, weight) = (values(50 * inner, 5), values(50 * out, 5), narrow(&values(out * inner, 7)));
        let lines = Lines::Bf16(&weight);
        let of = |rows: usize| {
            let (x, above) = (&x[..rows * inner], &above[..rows * out]);
            let product = Product { rows, inner, lines, bias: None };
            if unit::is_there() {
                return (project(x, product), backward(above, lines, inner));
            }
            (forward::project(|| Plain, x, product), backward::backward(|| Plain, above, lines, inner))
        };
        let (all, back) = of(50);
        for count in [1, 2, 16, 17, 33] {
            let (found, of_inputs) = of(count);
            assert!(found == all[..count * out] && of_inputs == back[..count * inner], "{count} rows");
        }
    }
}
