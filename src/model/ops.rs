//! Differentiable operations, composed of candle operations that have a correct backward.
//!
//! Candle's fused forms (`ops::softmax_last_dim`, `ops::rms_norm`, `rotary_emb::rope`) silently cut the gradient; these do
//! not. They run on every device and are the reference for any fused form.

use candle_core::{D, Result, Tensor};

/// Score of a masked attention pair; large enough to vanish in a softmax, small enough to stay finite in sums.
pub const MASKED: f32 = -1e30;

/// `x @ weight^T + bias` with `x: [.., in]`, `weight: [out, in]`, `bias: [out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let (out, inner) = weight.dims2()?;
    let rows = x.elem_count() / inner;
    let y = x.reshape((rows, inner))?.matmul(&weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
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
    x.broadcast_mul(&scale)?.broadcast_mul(weight)
}

/// Layer norm over the last dimension, scaled by `weight` and shifted by `bias`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    centred.broadcast_mul(&scale)?.broadcast_mul(weight)?.broadcast_add(bias)
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
    x.broadcast_mul(cos)? + rotated.broadcast_mul(sin)?
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
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    let probabilities = softmax(&scores)?;
    let mixed = probabilities.reshape((rows, kv_heads, group * n, m))?.matmul(v)?;
    let mixed = mixed.reshape((rows, heads, n, d))?.transpose(1, 2)?.reshape((rows, n, heads * d))?;
    Ok((mixed, probabilities))
}
