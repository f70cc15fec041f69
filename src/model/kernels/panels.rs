//! Products of many rows with stored lines: a panel of the weight is widened at a time, and multiplied as a general
//! product. The panel is small enough for a cache, so memory is read as narrow as it is stored.

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

/// Calls `work` with every panel as `[lines, inner]`, and with its first line.
fn each(lines: Lines<'_>, (out, inner): (usize, usize), mut work: impl FnMut(usize, usize, Matrix<'_>)) {
    let width = (PANEL / inner.max(1)).next_multiple_of(PIECE).max(FEWEST).min(out.max(1));
    let mut panel = vec![0.0; width * inner];
    for first in (0..out).step_by(width) {
        let count = width.min(out - first);
        let panel = &mut panel[..count * inner];
        threads::map_chunks(panel, PIECE * inner, COST * count * inner, |index, chunk| {
            lines::widen(lines, (first + index * PIECE) * inner, chunk);
        });
        work(first, count, Matrix::new(panel, count, inner, inner));
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
