//! Triangular systems of a chunk, in blocks: products between blocks, substitution within them.

use super::super::product::{Matrix, product};
use super::super::simd;

/// Rows of a block.
const BLOCK: usize = 16;

/// Solves `(I + L) U = R` in place: `u: [count, width]` holds `R` before and `U` after. `minus: [count, count]` is `-L`.
#[inline(always)]
pub(super) fn solve<const FMA: bool>(minus: &[f32], count: usize, u: &mut [f32], width: usize) {
    for start in (0..count).step_by(BLOCK) {
        let end = (start + BLOCK).min(count);
        let (done, rest) = u.split_at_mut(start * width);
        if start > 0 {
            let block = Matrix::new(&minus[start * count..], end - start, start, count);
            product(rest, width, true, block, Matrix::new(done, start, width, width));
        }
        for row in start + 1..end {
            let (before, own) = rest.split_at_mut((row - start) * width);
            for (column, line) in before.chunks_exact(width).enumerate() {
                simd::add_scaled::<FMA>(&mut own[..width], minus[row * count + start + column], line);
            }
        }
    }
}

/// Solves `(I + L)^T X = R` in place, with the arguments of [`solve`].
#[inline(always)]
pub(super) fn solve_transposed<const FMA: bool>(minus: &[f32], count: usize, x: &mut [f32], width: usize) {
    for start in (0..count).step_by(BLOCK).rev() {
        let end = (start + BLOCK).min(count);
        let (rest, done) = x.split_at_mut(end * width);
        let own = &mut rest[start * width..];
        if end < count {
            let block = Matrix::new(&minus[end * count + start..], count - end, end - start, count);
            product(own, width, true, block.t(), Matrix::new(done, count - end, width, width));
        }
        for row in (start..end - 1).rev() {
            let (before, after) = own.split_at_mut((row + 1 - start) * width);
            let target = &mut before[(row - start) * width..];
            for (offset, line) in after.chunks_exact(width).enumerate() {
                simd::add_scaled::<FMA>(target, minus[(row + 1 + offset) * count + row], line);
            }
        }
    }
}
