//! Differentiable operations, composed of candle operations that have a correct backward.
//!
//! Candle's fused forms (`ops::softmax_last_dim`, `ops::rms_norm`, `rotary_emb::rope`) silently cut the gradient; these do
//! not. They run on every device and are the reference for any fused form.

use candle_core::{D, Result, Tensor};

use super::constant;

/// Score of a masked attention pair; large enough to vanish in a softmax, small enough to stay finite in sums.
pub const MASKED: f32 = -1e30;

/// Is a gradient wanted for `x` alone?
fn only_first(x: &Tensor, other: &Tensor) -> bool {
    x.track_op() && !other.track_op()
}

/// `x * factor` in the number format of `x`, broadcast to its shape.
fn times(x: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let factor = factor.to_dtype(x.dtype())?;
    if only_first(x, &factor) { constant::times(x, &factor) } else { x.broadcast_mul(&factor) }
}

/// `x + term` in the number format of `x`, broadcast to its shape.
fn plus(x: &Tensor, term: &Tensor) -> Result<Tensor> {
    let term = term.to_dtype(x.dtype())?;
    if only_first(x, &term) { constant::plus(x, &term) } else { x.broadcast_add(&term) }
}

/// `x @ weight^T + bias` with `x: [.., in]`, `weight: [out, in]`, `bias: [out]`.
///
/// The product runs in the number format of the weight and comes back in that of `x`: with 16-bit weights only the
/// operands of products are rounded, sums and everything else stay in 32 bits.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let (out, inner) = weight.dims2()?;
    let rows = x.reshape((x.elem_count() / inner, inner))?.to_dtype(weight.dtype())?;
    let y = if only_first(&rows, weight) { constant::project(&rows, weight)? } else { rows.matmul(&weight.t()?)? };
    let y = y.to_dtype(x.dtype())?;
    let y = match bias {
        Some(bias) => plus(&y, bias)?,
        None => y,
    };
    if let Some(last) = dims.last_mut() {
        *last = out;
    }
    y.reshape(dims)
}

/// Root-mean-square norm over the last dimension, scaled by `weight`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    times(&x.broadcast_mul(&scale)?, weight)
}

/// Layer norm over the last dimension, scaled by `weight` and shifted by `bias`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    plus(&times(&centred.broadcast_mul(&scale)?, weight)?, bias)
}

/// `x * sigmoid(1.702 x)`, written with tanh so that no exponential can overflow.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    let sigmoid = (((x * 0.851)?.tanh()? + 1.0)? * 0.5)?;
    x * sigmoid
}

/// Softmax over the last dimension. The subtracted maximum is detached: it cancels in value and in gradient.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
    let sum = exp.sum_keepdim(D::Minus1)?;
    exp.broadcast_div(&sum)
}

/// Log of the softmax over the last dimension.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    shifted.broadcast_sub(&log_sum)
}

/// Rotary embedding in the "rotate half" layout: `x * cos + rotate_half(x) * sin`, `cos` and `sin` broadcast against `x`.
pub fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let first = x.narrow(D::Minus1, 0, half)?;
    let second = x.narrow(D::Minus1, half, half)?;
    let rotated = Tensor::cat(&[&second.neg()?, &first], D::Minus1)?;
    times(x, cos)? + times(&rotated, sin)?
}

/// Grouped-query attention. `q: [rows, heads, n, d]`, `k`, `v: [rows, kv heads, m, d]`, `mask` is added to the scores and
/// broadcasts against `[rows, 1, n, m]`. Returns the result `[rows, n, heads * d]` and the probabilities
/// `[rows, heads, n, m]`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
    let (rows, heads, n, d) = q.dims4()?;
    let (_, kv_heads, m, _) = k.dims4()?;
    let group = heads / kv_heads;
    let q = (q * (1.0 / (d as f64).sqrt()))?.reshape((rows, kv_heads, group * n, d))?;
    let scores = q.matmul(&k.transpose(2, 3)?)?.reshape((rows, heads, n, m))?;
    let scores = match mask {
        Some(mask) => plus(&scores, mask)?,
        None => scores,
    };
    let probabilities = softmax(&scores)?;
    let mixed = probabilities.reshape((rows, kv_heads, group * n, m))?.matmul(v)?;
    let mixed = mixed.reshape((rows, heads, n, d))?.transpose(1, 2)?.reshape((rows, n, heads * d))?;
    Ok((mixed, probabilities))
}
