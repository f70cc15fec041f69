//! Grouped-query attention with rotary positions.

mod backward;
mod blockwise;
mod composed;
mod forward;
mod fused;
mod heads;
mod mask;
mod plan;
mod rope;

use candle_core::{Result, Tensor};

use super::Form;
pub use mask::{AttentionMask, Suffix};
pub(super) use plan::BLOCK_SCORES;
pub use plan::{BlockSides, MASKED};
pub use rope::{Rope, rotate, rotate_by};

/// The result of attention.
#[derive(Debug)]
pub struct Attended {
    /// The weighted values `[batch, queries, heads * dim]`.
    pub mixed: Tensor,
    /// Probabilities `[batch, heads, queries kept, keys]`, if requested; without gradient, 0 for masked keys.
    pub probabilities: Option<Tensor>,
}

/// Attention of `q: [batch, queries, heads, dim]` over `k`, `v: [batch, keys, kv heads, dim]` (any strides); scores are
/// divided by the root of `dim`. `rope` rotates queries and keys first. `keep` requests the probabilities of the
/// queries from that index on.
///
/// # Errors
/// Shapes that do not match each other or `mask`.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rope: Option<&Rope>,
    mask: &AttentionMask,
    keep: Option<usize>,
) -> Result<Attended> {
    attention_by(Form::of(&[q, k, v]), q, k, v, rope, mask, keep)
}

/// [`attention`] in a chosen form; the fused one needs f32 on the CPU.
pub fn attention_by(
    form: Form,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rope: Option<&Rope>,
    mask: &AttentionMask,
    keep: Option<usize>,
) -> Result<Attended> {
    check(q, k, v, rope, mask)?;
    match form {
        Form::Composed => composed::attention(q, k, v, rope, mask, keep),
        Form::Fused => fused::attention(q, k, v, rope, mask, keep),
    }
}

/// [`attention`] in the composed form, in blocks with these sides.
pub fn attention_in_blocks(
    sides: BlockSides,
    [q, k, v]: [&Tensor; 3],
    rope: Option<&Rope>,
    mask: &AttentionMask,
    keep: Option<usize>,
) -> Result<Attended> {
    check(q, k, v, rope, mask)?;
    composed::in_blocks(q, k, v, rope, mask, keep, sides)
}

fn check(q: &Tensor, k: &Tensor, v: &Tensor, rope: Option<&Rope>, mask: &AttentionMask) -> Result<()> {
    let (rows, queries, heads, dim) = q.dims4()?;
    let (_, keys, kv_heads, _) = k.dims4()?;
    if k.dims() != v.dims()
        || k.dims() != [rows, keys, kv_heads, dim]
        || kv_heads == 0
        || !heads.is_multiple_of(kv_heads)
    {
        candle_core::bail!("queries {:?} cannot attend to keys {:?} and values {:?}", q.dims(), k.dims(), v.dims());
    }
    if rope.is_some() && queries != keys {
        candle_core::bail!("{queries} queries and {keys} keys cannot share rotary positions: rotate them one by one");
    }
    if let Some(rope) = rope {
        rope.check(q)?;
    }
    mask.check(rows, queries, keys)
}
