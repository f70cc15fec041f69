//! Attention composed of candle operations: runs on every device and is the reference for the fused form.

use candle_core::{Result, Tensor};

use super::super::mixed::plus;
use super::super::softmax;
use super::rope::composed as rotate;
use super::{Attended, AttentionMask, Rope};

pub(super) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rope: Option<&Rope>,
    mask: &AttentionMask,
    keep: Option<usize>,
) -> Result<Attended> {
    let (rows, n, heads, d) = q.dims4()?;
    let (_, m, kv_heads, _) = k.dims4()?;
    let turned = |x: &Tensor| match rope {
        Some(rope) => rotate(x, rope),
        None => Ok(x.clone()),
    };
    let by_head = |x: &Tensor| x.transpose(1, 2)?.contiguous();
    let (q, k, v) = (by_head(&turned(q)?)?, by_head(&turned(k)?)?, by_head(v)?);
    let stacked = heads / kv_heads * n;
    let q = (q * (1.0 / (d as f64).sqrt()))?.reshape((rows, kv_heads, stacked, d))?;
    let scores = q.matmul(&k.transpose(2, 3)?)?.reshape((rows, heads, n, m))?;
    let scores = match mask.additive(rows, n, m, q.device())? {
        Some(additive) => plus(&scores, &additive)?,
        None => scores,
    };
    let probabilities = softmax(&scores)?;
    let mixed = probabilities.reshape((rows, kv_heads, stacked, m))?.matmul(&v)?;
    let mixed = mixed.reshape((rows, heads, n, d))?.transpose(1, 2)?.reshape((rows, n, heads * d))?;
    let probabilities = match keep {
        Some(from) => {
            let from = from.min(n);
            Some(probabilities.detach().narrow(2, from, n - from)?.contiguous()?)
        }
        None => None,
    };
    Ok(Attended { mixed, probabilities })
}
