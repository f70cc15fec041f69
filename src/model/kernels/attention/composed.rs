//! Attention composed of candle operations, in blocks: runs on every device and is the reference for the fused form.

use candle_core::{D, DType, Result, Tensor};

use super::super::own_backward;
use super::blockwise::{self, Operands};
use super::plan::{BlockSides, Plan};
use super::rope::turned;
use super::{Attended, AttentionMask, Rope};

pub(super) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rope: Option<&Rope>,
    mask: &AttentionMask,
    keep: Option<usize>,
) -> Result<Attended> {
    let (rows, queries, heads, _) = q.dims4()?;
    in_blocks(q, k, v, rope, mask, keep, BlockSides::fitting(rows * heads, queries))
}

/// The same in blocks with these sides.
pub(super) fn in_blocks(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rope: Option<&Rope>,
    mask: &AttentionMask,
    keep: Option<usize>,
    sides: BlockSides,
) -> Result<Attended> {
    let (rows, queries, _, _) = q.dims4()?;
    let plan = mask.plan((rows, queries, k.dim(1)?), sides, q.device())?;
    let passed = blockwise::forward(&operands([&q.detach(), &k.detach(), &v.detach()], rope)?, &plan, keep)?;
    let mut mixed = by_token(&passed.mixed)?.flatten_from(2)?;
    if [q, k, v].iter().any(|x| x.track_op()) {
        let (rope, log_sums) = (rope.cloned(), passed.log_sums);
        let backward = move |arguments: [Tensor; 3], mixed: Tensor, gradient: Tensor| {
            let [q, k, v] = &arguments;
            backward([q, k, v], rope.as_ref(), &plan, &log_sums, &mixed, &gradient)
        };
        mixed = own_backward::of_three("attention", [q, k, v], mixed, Box::new(backward))?;
    }
    Ok(Attended { mixed, probabilities: passed.probabilities })
}

fn operands([q, k, v]: [&Tensor; 3], rope: Option<&Rope>) -> Result<Operands> {
    let rotated = |x: &Tensor| rope.map_or_else(|| Ok(x.clone()), |rope| turned(x, rope));
    let q = by_head(&rotated(q)?)?.contiguous()?;
    Ok(Operands { q: (&q * scale(&q)?)?, k: for_products(by_head(&rotated(k)?)?)?, v: for_products(by_head(v)?)? })
}

/// The factor of all scores.
fn scale(q: &Tensor) -> Result<f64> {
    Ok(1.0 / (q.dim(D::Minus1)? as f64).sqrt())
}

/// `[batch, heads, seq_len, dim]` of `[batch, seq_len, heads, dim]`, or the other way round.
fn by_head(x: &Tensor) -> Result<Tensor> {
    x.transpose(1, 2)
}

fn by_token(x: &Tensor) -> Result<Tensor> {
    x.transpose(1, 2)?.contiguous()
}

/// A copy only where matrix products cannot read `[batch, heads, seq_len, dim]` as it is. They can read a part of a
/// cache, and what is in another number format is copied block by block.
fn for_products(x: Tensor) -> Result<Tensor> {
    let (rows, heads, _, dim) = x.dims4()?;
    let stride = x.stride();
    let reads = stride[3] == 1 && stride[2] == dim && (rows == 1 || stride[0] == stride[1] * heads);
    if reads || x.dtype() != DType::F32 { Ok(x) } else { x.contiguous() }
}

fn backward(
    arguments: [&Tensor; 3],
    rope: Option<&Rope>,
    plan: &Plan,
    log_sums: &Tensor,
    mixed: &Tensor,
    gradient: &Tensor,
) -> Result<[Tensor; 3]> {
    let shape = arguments[0].dims4()?;
    let (mixed, gradient) = (mixed.reshape(shape)?, gradient.contiguous()?.reshape(shape)?);
    let delta = by_head(&(&mixed * &gradient)?.sum_keepdim(D::Minus1)?)?;
    let operands = operands(arguments, rope)?;
    let gradients =
        blockwise::backward(&operands, plan, log_sums, &delta.contiguous()?, &by_head(&gradient)?.contiguous()?)?;
    let back = rope.map(Rope::backwards).transpose()?;
    let rotated = |x: Tensor| back.as_ref().map_or_else(|| Ok(x.clone()), |rope| turned(&x, rope));
    let q = (rotated(by_token(&gradients.q)?)? * scale(arguments[0])?)?;
    Ok([q, rotated(by_token(&gradients.k)?)?, by_token(&gradients.v)?])
}
