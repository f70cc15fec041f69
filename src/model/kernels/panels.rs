//! Products of many rows with stored lines: a panel of the weight is widened at a time, and multiplied as a general
//! product. The panel is small enough for a cache, so memory is read as narrow as it is stored.
//!
//! A general product reads the panel across its lines. Those of a common width such as 2,048 are a multiple of a page
//! apart and would evict each other, so a panel has a gap between its lines. That alone is worth a copy of wide lines
//! of 32 bits.

use super::lines::{self, Lines};
use super::product::{Matrix, shared_product};
use super::threads;

/// Values of a panel.
const PANEL: usize = 1 << 19;
/// Fewest lines of a panel.
const FEWEST: usize = 64;
/// Lines that a thread widens at a time.
const PIECE: usize = 16;
/// What widening a value costs, in multiplications.
const COST: usize = 8;
/// Values between two lines of a panel.
const GAP: usize = 16;
/// Values of a line from which the gap is worth a copy.
const WIDE: usize = 512;
/// Rows from which the product itself hides how the panel is read.
const MOST_ROWS: usize = 2048;

/// Is [`project`] faster than a general product for lines of 32 bits?
pub fn fits(rows: usize, inner: usize) -> bool {
    inner >= WIDE && rows <= MOST_ROWS
}

/// Calls `work` with every panel as `[lines, inner]`, and with its first line.
fn each(lines: Lines<'_>, (out, inner): (usize, usize), mut work: impl FnMut(usize, usize, Matrix<'_>)) {
    let width = (PANEL / inner.max(1)).next_multiple_of(PIECE).max(FEWEST).min(out.max(1));
    let stride = inner + GAP;
    let mut panel = vec![0.0; width * stride];
    for first in (0..out).step_by(width) {
        let count = width.min(out - first);
        let panel = &mut panel[..count * stride];
        threads::map_chunks(panel, PIECE * stride, COST * count * inner, |index, chunk| {
            for (line, values) in chunk.chunks_exact_mut(stride).enumerate() {
                lines::widen(lines, (first + index * PIECE + line) * inner, &mut values[..inner]);
            }
        });
        work(first, count, Matrix::new(panel, count, inner, stride));
    }
}

/// `x [rows, inner] @ lines [out, inner]^T + bias [out]`, row-major.
pub fn project(
    x: &[f32],
    lines: Lines<'_>,
    (rows, inner, out): (usize, usize, usize),
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let mut values = bias.map_or_else(|| vec![0.0; rows * out], |bias| bias.repeat(rows));
    let x = Matrix::new(x, rows, inner, inner);
    each(lines, (out, inner), |first, _, panel| {
        shared_product(&mut values[first..], out, bias.is_some(), x, panel.t());
    });
    values
}

/// `above [rows, out] @ lines [out, inner]`: the gradient of the inputs from that of the outputs.
pub fn backward(above: &[f32], lines: Lines<'_>, (rows, inner, out): (usize, usize, usize)) -> Vec<f32> {
    let mut values = vec![0.0; rows * inner];
    each(lines, (out, inner), |first, count, panel| {
        let above = Matrix::new(&above[first..], rows, count, out);
        shared_product(&mut values, inner, first > 0, above, panel);
    });
    values
}
