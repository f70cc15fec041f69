//! Draws of the next tokens where the logits are: on the device, so that of a vocabulary only the drawn token and its
//! log-prob come back. The draw is the one of [`super::TokenWeights`], up to rounding: tokens in their order, the first
//! at which the weights have added up to more than a uniform number's share of the whole.

use candle_core::{D, DType, Device, Result, Tensor};

use super::token_logprobs::exclusion;
use crate::model::transfers::{down, up};

/// Tokens of a block. A sum over the vocabulary is one over blocks, and then one within a block.
const BLOCK: usize = 512;
/// Halvings of the range of exponents in which the edge of a nucleus is looked for: finer than 32 bits resolve.
const HALVINGS: usize = 32;
/// Weights up to this are none, as those of exponents below -87 are on the host.
const NO_WEIGHT: f64 = 1e-38;
/// The smallest exponent whose weight counts.
const SMALLEST: f64 = -88.0;

/// How a row draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrawRule {
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus share; of equally likely tokens at its edge all are in it.
    pub top_p: f64,
    /// The row's number in [0, 1).
    pub uniform: f64,
}

impl DrawRule {
    /// The most likely token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, uniform: 0.0 };

    fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }
}

/// A drawn token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// The token.
    pub token: u32,
    /// Its log-prob at the row's temperature (1 where it is greedy) among the tokens that are not excluded.
    pub logprob: f64,
    /// Its log-prob under the logits as they are.
    pub plain: f64,
}

/// What draws from one vocabulary share.
#[derive(Debug, Clone)]
pub struct Draws {
    /// `[1, vocab]`, added to logits: excluded tokens have no weight.
    excluded: Tensor,
    within: Steps,
    across: Steps,
}

/// Running sums over `n` numbers, and the first of them that satisfies a condition.
#[derive(Debug, Clone)]
struct Steps {
    count: usize,
    /// `[n, n]`: 1 where the row is not after the column.
    triangle: Tensor,
    /// `[1, n]`: 1, 2, ... n.
    rising: Tensor,
}

impl Steps {
    fn new(count: usize, device: &Device) -> Result<Self> {
        let rising = up("draw tables", (1..=count).map(|n| n as f32).collect(), (1, count), device)?;
        let triangle = rising.reshape((count, 1))?.broadcast_le(&rising)?.to_dtype(DType::F32)?;
        Ok(Self { count, triangle, rising })
    }

    /// The index `[batch, 1]` of the first of `parts: [batch, n]` at which the running sum exceeds
    /// `target: [batch, 1]`, of those with a weight; the last one with a weight where rounding leaves a remainder. Also
    /// the sum before it.
    fn first_above(&self, parts: &Tensor, target: &Tensor) -> Result<(Tensor, Tensor)> {
        let sums = parts.matmul(&self.triangle)?;
        let some = parts.gt(NO_WEIGHT)?.to_dtype(DType::F32)?;
        let above = (sums.broadcast_gt(target)?.to_dtype(DType::F32)? * &some)?;
        let count = self.count as f64;
        // From n down to 1, so that the first has the largest number.
        let first = above.broadcast_mul(&self.rising.affine(-1.0, count + 1.0)?)?.max_keepdim(D::Minus1)?;
        let last = some.broadcast_mul(&self.rising)?.max_keepdim(D::Minus1)?.maximum(1.0)?;
        let index = first.gt(0.0)?.where_cond(&first.affine(-1.0, count)?, &(last - 1.0)?)?;
        let before = (sums - parts)?.gather(&index.to_dtype(DType::U32)?, 1)?;
        Ok((index, before))
    }
}

impl Draws {
    /// Draws from a vocabulary of `size` tokens without those that are `excluded`.
    pub fn new(size: usize, excluded: &[u32], device: &Device) -> Result<Self> {
        let (within, across) = (Steps::new(BLOCK, device)?, Steps::new(size.div_ceil(BLOCK).max(1), device)?);
        Ok(Self { excluded: exclusion(size, excluded, device)?.unsqueeze(0)?, within, across })
    }

    /// One token for each row of `logits: [batch, vocab]`.
    pub fn draw(&self, logits: &Tensor, rules: &[DrawRule]) -> Result<Vec<Drawn>> {
        let logits = logits.detach().to_dtype(DType::F32)?;
        let of_rule = |rule: &DrawRule| {
            let inverse = if rule.is_greedy() { 1.0 } else { ((1.0 / rule.temperature) as f32).min(f32::MAX) };
            [inverse, rule.top_p as f32, f32::from(u8::from(rule.is_greedy())), rule.uniform as f32]
        };
        // [batch, settings]
        let settings =
            up("draw settings", rules.iter().flat_map(of_rule).collect(), (rules.len(), 4), logits.device())?;
        let setting = |i: usize| settings.narrow(1, i, 1);
        let allowed = logits.broadcast_add(&self.excluded)?;
        let exponents = allowed.broadcast_sub(&allowed.max_keepdim(1)?)?.broadcast_mul(&setting(0)?)?;
        let weights = exponents.exp()?;
        let total = weights.sum_keepdim(1)?;
        let mut kept = weights.clone();
        if rules.iter().any(|rule| rule.top_p < 1.0 && !rule.is_greedy()) {
            let edge = nucleus_edge(&exponents, &weights, &(&total * setting(1)?)?, &setting(1)?)?;
            kept = (kept * exponents.broadcast_ge(&edge)?.to_dtype(DType::F32)?)?;
        }
        let drawn = self.at_share(&kept, &setting(3)?)?;
        let greedy = allowed.argmax_keepdim(1)?;
        let tokens = setting(2)?.gt(0.5)?.where_cond(&greedy, &drawn)?;
        let logprobs = (exponents.gather(&tokens, 1)? - total.log()?)?;
        let below = logits.broadcast_sub(&logits.max_keepdim(1)?)?;
        let plain = (below.gather(&tokens, 1)? - below.exp()?.sum_keepdim(1)?.log()?)?;
        // Numbers of tokens are below 2^24, so that 32-bit floats hold them. [batch, 3]
        let found = Tensor::cat(&[&tokens.to_dtype(DType::F32)?, &logprobs, &plain], 1)?;
        let found = down("drawn tokens", &found)?;
        let one =
            |line: &[f32]| Drawn { token: line[0] as u32, logprob: f64::from(line[1]), plain: f64::from(line[2]) };
        Ok(found.chunks_exact(3).map(one).collect())
    }

    /// The token `[batch, 1]` at the share `uniform: [batch, 1]` of all `weights: [batch, vocab]`.
    fn at_share(&self, weights: &Tensor, uniform: &Tensor) -> Result<Tensor> {
        let (rows, size) = weights.dims2()?;
        let blocks = self.across.count;
        let weights = weights.pad_with_zeros(1, 0, blocks * BLOCK - size)?.reshape((rows, blocks, BLOCK))?;
        let sums = weights.sum(2)?;
        let target = (sums.sum_keepdim(1)? * uniform)?;
        let (block, before) = self.across.first_above(&sums, &target)?;
        // Rounding may leave less than nothing, which is before the first token that has a weight.
        let left = (target - before)?.maximum(0.0)?;
        let index = block.to_dtype(DType::U32)?.unsqueeze(2)?.broadcast_as((rows, 1, BLOCK))?.contiguous()?;
        let (token, _) = self.within.first_above(&weights.gather(&index, 1)?.squeeze(1)?, &left)?;
        ((block * BLOCK as f64)? + token)?.to_dtype(DType::U32)
    }
}

/// The smallest exponent `[batch, 1]` of each row's nucleus: the largest one at which the weights above it reach
/// `wanted`. Rows whose share is 1 keep all.
fn nucleus_edge(exponents: &Tensor, weights: &Tensor, wanted: &Tensor, share: &Tensor) -> Result<Tensor> {
    // Both [batch, 1].
    let (mut low, mut high) = (wanted.ones_like()?.affine(SMALLEST, 0.0)?, wanted.zeros_like()?);
    for _ in 0..HALVINGS {
        let middle = ((&low + &high)? * 0.5)?;
        let above = exponents.broadcast_ge(&middle)?.to_dtype(DType::F32)?;
        let reached = (weights * above)?.sum_keepdim(1)?.ge(wanted)?;
        (low, high) = (reached.where_cond(&middle, &low)?, reached.where_cond(&high, &middle)?);
    }
    // [batch, 1]
    let all = low.ones_like()?.affine(f64::from(f32::MIN), 0.0)?;
    share.lt(1.0)?.where_cond(&low, &all)
}
