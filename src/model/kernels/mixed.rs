//! Composed products and sums of tensors that may differ in number format and in whether they are trained.

use candle_core::{Result, Tensor};

use super::super::constant;

/// Is a gradient wanted for `x` alone?
pub fn only_first(x: &Tensor, other: &Tensor) -> bool {
    x.track_op() && !other.track_op()
}

/// `x * factor` in the number format of `x`, broadcast to its shape.
pub fn times(x: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let factor = factor.to_dtype(x.dtype())?;
    if only_first(x, &factor) { constant::times(x, &factor) } else { x.broadcast_mul(&factor) }
}

/// `x + term` in the number format of `x`, broadcast to its shape.
pub fn plus(x: &Tensor, term: &Tensor) -> Result<Tensor> {
    let term = term.to_dtype(x.dtype())?;
    if only_first(x, &term) { constant::plus(x, &term) } else { x.broadcast_add(&term) }
}
