//! Attention in blocks of query-key pairs, composed of candle operations (after `FlashAttention`, arXiv 2205.14135, and
//! its second version, 2307.08691): a running maximum and sum replace the softmax over all keys, and the backward pass
//! computes scores again from the logarithm of that sum. No more than one block of pairs is in memory at a time.

use std::ops::Range;

use candle_core::{D, Result, Tensor};

use super::plan::{Block, Plan, Tile};

/// Queries, keys and values by head; no graph.
pub(super) struct Operands {
    /// `[batch, heads, queries, dim]`, rotated and scaled.
    pub(super) q: Tensor,
    /// `[batch, kv heads, keys, dim]`, rotated.
    pub(super) k: Tensor,
    /// `[batch, kv heads, keys, dim]`.
    pub(super) v: Tensor,
}

/// What the forward pass gives.
pub(super) struct Passed {
    /// `[batch, heads, queries, dim]`.
    pub(super) mixed: Tensor,
    /// Logarithm of the sum of exponentials of each query's scores, `[batch, heads, queries, 1]`.
    pub(super) log_sums: Tensor,
    /// `[batch, heads, queries kept, keys]`.
    pub(super) probabilities: Option<Tensor>,
}

/// Gradients of the operands, each in the shape of its own.
pub(super) struct Gradients {
    pub(super) q: Tensor,
    pub(super) k: Tensor,
    pub(super) v: Tensor,
}

impl Operands {
    /// Queries of a tile, those of a key head one after the other: `[batch, kv heads, group * queries, dim]`.
    fn stack(&self, x: &Tensor, queries: &Range<usize>) -> Result<Tensor> {
        let ((rows, heads, _, dim), kv_heads) = (x.dims4()?, self.k.dim(1)?);
        let stacked = heads / kv_heads * queries.len();
        x.narrow(2, queries.start, queries.len())?.reshape((rows, kv_heads, stacked, dim))
    }

    /// A range of keys or values, in the number format of the queries.
    fn range(&self, x: &Tensor, keys: &Range<usize>) -> Result<Tensor> {
        x.narrow(2, keys.start, keys.len())?.to_dtype(self.q.dtype())
    }

    /// `[batch, kv heads, group * queries, n]` of `[batch, heads, queries, n]`.
    fn stacked(&self, x: &Tensor) -> Result<Tensor> {
        let ((rows, heads, queries, width), kv_heads) = (x.dims4()?, self.k.dim(1)?);
        x.reshape((rows, kv_heads, heads / kv_heads * queries, width))
    }

    /// The other way round.
    fn by_head(&self, x: &Tensor) -> Result<Tensor> {
        let ((rows, kv_heads, stacked, width), heads) = (x.dims4()?, self.q.dim(1)?);
        x.reshape((rows, heads, stacked * kv_heads / heads, width))
    }

    /// Scores `[batch, heads, queries, keys]` of a block.
    fn scores(&self, queries: &Tensor, keys: &Tensor, block: &Block) -> Result<Tensor> {
        let scores = self.by_head(&queries.matmul(&keys.transpose(2, 3)?)?)?;
        match &block.mask {
            Some(mask) => scores.broadcast_add(mask),
            None => Ok(scores),
        }
    }
}

/// Attention over the blocks of `plan`; keeps the probabilities of queries from `keep` on.
pub(super) fn forward(operands: &Operands, plan: &Plan, keep: Option<usize>) -> Result<Passed> {
    let count = operands.q.dim(2)?;
    let from = keep.map_or(count, |from| from.min(count));
    let (mut mixed, mut log_sums, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for tile in &plan.tiles {
        let queries = operands.stack(&operands.q, &tile.queries)?;
        let (mut running, mut scores_kept): (Option<Running>, Vec<(usize, Tensor)>) = (None, Vec::new());
        for block in &tile.blocks {
            let range = &plan.keys[block.keys];
            let scores = operands.scores(&queries, &operands.range(&operands.k, range)?, block)?;
            let values = operands.range(&operands.v, range)?;
            running = Some(Running::after(running, operands, &scores, &values)?);
            if tile.queries.end > from {
                scores_kept.push((block.keys, scores));
            }
        }
        let Some(Running { max, sum, mixed: weighted }) = running else { candle_core::bail!("a query sees no key") };
        mixed.push(weighted.broadcast_div(&sum)?);
        let log_sum = (max + sum.log()?)?;
        if tile.queries.end > from {
            kept.push(probabilities(plan, tile, &scores_kept, &log_sum, from)?);
        }
        log_sums.push(log_sum);
    }
    let probabilities = match keep {
        Some(_) if kept.is_empty() => {
            let (rows, heads, _, _) = operands.q.dims4()?;
            // [batch, heads, no queries, keys]
            let shape = (rows, heads, 0, operands.k.dim(2)?);
            Some(Tensor::zeros(shape, operands.q.dtype(), operands.q.device())?)
        }
        Some(_) => Some(joined(kept, 2)?),
        None => None,
    };
    Ok(Passed { mixed: joined(mixed, 2)?, log_sums: joined(log_sums, 2)?, probabilities })
}

/// The largest score of each query so far, the sum of the exponentials below it, and the values that they weigh.
struct Running {
    max: Tensor,
    sum: Tensor,
    mixed: Tensor,
}

impl Running {
    /// With one more block.
    fn after(earlier: Option<Self>, operands: &Operands, scores: &Tensor, values: &Tensor) -> Result<Self> {
        let own = scores.max_keepdim(D::Minus1)?;
        let max = match &earlier {
            Some(earlier) => earlier.max.maximum(&own)?,
            None => own,
        };
        let weights = scores.broadcast_sub(&max)?.exp()?;
        let sum = weights.sum_keepdim(D::Minus1)?;
        let mixed = operands.by_head(&operands.stacked(&weights)?.matmul(values)?)?;
        let Some(earlier) = earlier else { return Ok(Self { max, sum, mixed }) };
        // A query that has seen only masked keys so far has the largest score of a masked key: its factor is 0.
        let factor = (earlier.max - &max)?.exp()?;
        let mixed = (earlier.mixed.broadcast_mul(&factor)? + mixed)?;
        Ok(Self { sum: ((earlier.sum * factor)? + sum)?, max, mixed })
    }
}

/// Probabilities `[batch, heads, queries kept, keys]` of a tile's queries from `from` on, over all keys.
fn probabilities(
    plan: &Plan,
    tile: &Tile,
    scores: &[(usize, Tensor)],
    log_sums: &Tensor,
    from: usize,
) -> Result<Tensor> {
    let skipped = from.saturating_sub(tile.queries.start);
    let count = tile.queries.len() - skipped;
    let log_sums = log_sums.narrow(2, skipped, count)?;
    let (rows, heads, _, _) = log_sums.dims4()?;
    let part = |(index, range): (usize, &Range<usize>)| match scores.iter().find(|(keys, _)| *keys == index) {
        Some((_, scores)) => scores.narrow(2, skipped, count)?.broadcast_sub(&log_sums)?.exp(),
        // [batch, heads, queries kept, keys of the block]
        None => Tensor::zeros((rows, heads, count, range.len()), log_sums.dtype(), log_sums.device()),
    };
    joined(plan.keys.iter().enumerate().map(part).collect::<Result<_>>()?, 3)
}

/// The backward pass from `gradient` and `delta`, the sum of its product with the result
/// (`[batch, heads, queries, dim]` and `[batch, heads, queries, 1]`).
pub(super) fn backward(
    operands: &Operands,
    plan: &Plan,
    log_sums: &Tensor,
    delta: &Tensor,
    gradient: &Tensor,
) -> Result<Gradients> {
    let mut of_queries = Vec::with_capacity(plan.tiles.len());
    let (mut of_keys, mut of_values) = (vec![None; plan.keys.len()], vec![None; plan.keys.len()]);
    for tile in &plan.tiles {
        let (start, count) = (tile.queries.start, tile.queries.len());
        let (queries, above) = (operands.stack(&operands.q, &tile.queries)?, operands.stack(gradient, &tile.queries)?);
        let (log_sums, delta) = (log_sums.narrow(2, start, count)?, delta.narrow(2, start, count)?);
        let mut sum = None;
        for block in &tile.blocks {
            let range = &plan.keys[block.keys];
            let (keys, values) = (operands.range(&operands.k, range)?, operands.range(&operands.v, range)?);
            let weights = operands.scores(&queries, &keys, block)?.broadcast_sub(&log_sums)?.exp()?;
            add(&mut of_values[block.keys], operands.stacked(&weights)?.transpose(2, 3)?.matmul(&above)?)?;
            // Gradient of the scores: dS = P * (dP - delta).
            let slopes = operands.by_head(&above.matmul(&values.transpose(2, 3)?)?)?.broadcast_sub(&delta)?;
            let slopes = operands.stacked(&(weights * slopes)?)?;
            add(&mut of_keys[block.keys], slopes.transpose(2, 3)?.matmul(&queries)?)?;
            add(&mut sum, slopes.matmul(&keys)?)?;
        }
        let Some(sum) = sum else { candle_core::bail!("a query sees no key") };
        of_queries.push(operands.by_head(&sum)?);
    }
    Ok(Gradients {
        q: joined(of_queries, 2)?,
        k: all_of(operands, plan, of_keys)?,
        v: all_of(operands, plan, of_values)?,
    })
}

fn add(sum: &mut Option<Tensor>, part: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(earlier) => (earlier + part)?,
        None => part,
    });
    Ok(())
}

/// Gradients by range of keys as one tensor; keys that no query sees have none.
fn all_of(operands: &Operands, plan: &Plan, parts: Vec<Option<Tensor>>) -> Result<Tensor> {
    let (rows, kv_heads, _, dim) = operands.k.dims4()?;
    let whole = |(part, range): (Option<Tensor>, &Range<usize>)| match part {
        Some(part) => Ok(part),
        // [batch, kv_heads, keys of the range, head_dim]
        None => Tensor::zeros((rows, kv_heads, range.len(), dim), operands.q.dtype(), operands.q.device()),
    };
    joined(parts.into_iter().zip(&plan.keys).map(whole).collect::<Result<_>>()?, 2)
}

/// One tensor of adjacent parts: `[batch, heads, queries or keys, ..]`.
fn joined(mut parts: Vec<Tensor>, dim: usize) -> Result<Tensor> {
    // A single part needs no copy; [batch, heads, queries or keys, ..] in all.
    if parts.len() == 1 { Ok(parts.remove(0)) } else { Tensor::cat(&parts, dim) }
}
