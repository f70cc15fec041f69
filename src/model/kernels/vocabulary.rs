//! The softmax over a vocabulary as a draw needs it: sums by block, so that a draw reads the logits twice and one block
//! again, and nothing is kept for each token.
//!
//! Weights are `e^((logit - max) * scale)`, where `max` is the largest logit of an allowed token. Within a block they
//! are added in f32, blocks in f64: the total is right to about one part in a million.

use super::simd::{self, Kernel};

/// Tokens of a block.
const BLOCK: usize = 1024;
/// Exponents below this have no weight: [`simd::exp`] ends there.
const SMALLEST: f32 = -87.0;

/// The weights of a vocabulary, without those of tokens that are excluded.
#[derive(Debug, Clone, Default)]
pub struct TokenWeights {
    max: f32,
    scale: f32,
    excluded: Vec<u32>,
    /// The sum of each block.
    blocks: Vec<f64>,
    total: f64,
}

impl TokenWeights {
    /// Weights in which `excluded` tokens have none.
    pub fn without(excluded: &[u32]) -> Self {
        Self { excluded: excluded.to_vec(), ..Self::default() }
    }

    /// Reads a row of logits; `scale` is the inverse of the temperature.
    pub fn read(&mut self, logits: &[f32], scale: f32) {
        self.scale = scale;
        self.max = self.largest(logits);
        self.blocks.clear();
        for (index, block) in logits.chunks(BLOCK).enumerate() {
            let first = (index * BLOCK) as u32;
            let sum = if self.touches(first, block.len()) {
                (first..).zip(block).map(|(token, logit)| self.weight(token, *logit)).sum()
            } else {
                f64::from(simd::run(BlockSum { block, max: self.max, scale }))
            };
            self.blocks.push(sum);
        }
        self.total = self.blocks.iter().sum();
    }

    /// The log-prob of a token with this logit.
    pub fn logprob(&self, logit: f32) -> f64 {
        f64::from(logit - self.max) * f64::from(self.scale) - self.total.ln()
    }

    /// The token at the share `draw` (in `[0, 1)`) of the whole weight, in the order of tokens.
    pub fn at(&self, logits: &[f32], draw: f64) -> Option<u32> {
        let mut left = draw * self.total;
        let mut last = None;
        for (index, (block, sum)) in logits.chunks(BLOCK).zip(&self.blocks).enumerate() {
            if *sum <= 0.0 {
                continue;
            }
            if left < *sum {
                return self.within(index, block, left);
            }
            left -= sum;
            last = Some((index, block));
        }
        // Rounding may leave a remainder at the end, which goes to the last token with a weight.
        last.and_then(|(index, block)| self.within(index, block, f64::INFINITY))
    }

    /// The token of a block where its weights have added up to more than `left`, or its last one with a weight.
    fn within(&self, index: usize, block: &[f32], mut left: f64) -> Option<u32> {
        let mut last = None;
        for (token, logit) in ((index * BLOCK) as u32..).zip(block) {
            let weight = self.weight(token, *logit);
            if weight > 0.0 {
                last = Some(token);
                left -= weight;
                if left < 0.0 {
                    break;
                }
            }
        }
        last
    }

    /// The most likely tokens whose weights add up to at least `share` of the whole, with their weights, in the order
    /// of tokens; at least one. Of equal ones the first come first.
    pub fn nucleus(&self, logits: &[f32], share: f64) -> Vec<(u32, f64)> {
        let bins = simd::run(Bins { weights: self, logits });
        let total: f64 = bins.iter().sum();
        let mut left = share * total;
        let edge = bins.iter().position(|sum| {
            let reached = *sum >= left;
            if !reached {
                left -= sum;
            }
            reached
        });
        // The bin in which the share is reached; where rounding leaves a remainder, all are kept.
        let edge = edge.unwrap_or(BINS);
        let mut kept = Vec::new();
        let mut at_edge = Vec::new();
        for (token, logit) in (0_u32..).zip(logits) {
            let bin = bin((logit - self.max) * self.scale);
            if bin > edge {
                continue;
            }
            let weight = self.weight(token, *logit);
            if weight > 0.0 {
                if bin < edge { kept.push((token, weight)) } else { at_edge.push((*logit, token, weight)) }
            }
        }
        at_edge.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (_, token, weight) in at_edge {
            kept.push((token, weight));
            left -= weight;
            if left <= 0.0 {
                break;
            }
        }
        kept.sort_unstable_by_key(|(token, _)| *token);
        kept
    }

    /// The largest logit of a token that is not excluded.
    fn largest(&self, logits: &[f32]) -> f32 {
        let mut excluded: Vec<usize> =
            self.excluded.iter().map(|token| *token as usize).filter(|token| *token < logits.len()).collect();
        excluded.sort_unstable();
        let (mut max, mut from) = (f32::MIN, 0);
        for end in excluded.into_iter().chain([logits.len()]) {
            if from < end {
                max = max.max(simd::run(Max(&logits[from..end])));
            }
            from = end + 1;
        }
        max
    }

    /// Is one of these tokens excluded?
    fn touches(&self, first: u32, count: usize) -> bool {
        self.excluded.iter().any(|token| (first..first + count as u32).contains(token))
    }

    fn weight(&self, token: u32, logit: f32) -> f64 {
        let exponent = (logit - self.max) * self.scale;
        if exponent < SMALLEST || self.excluded.contains(&token) { 0.0 } else { f64::from(exponent).exp() }
    }
}

/// Is none of the values infinite or not a number?
pub fn all_finite(values: &[f32]) -> bool {
    simd::run(Finite(values))
}

struct Finite<'a>(&'a [f32]);

impl Kernel for Finite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> bool {
        // Only a finite value times 0 is 0.
        simd::sum_of(self.0, |value| value * 0.0) == 0.0
    }
}

struct Max<'a>(&'a [f32]);

impl Kernel for Max<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        simd::max(self.0)
    }
}

/// The sum of the weights of a block.
struct BlockSum<'a> {
    block: &'a [f32],
    max: f32,
    scale: f32,
}

impl Kernel for BlockSum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        simd::sum_of(self.block, |logit| weight_of::<FMA>((logit - self.max) * self.scale))
    }
}

#[inline(always)]
fn weight_of<const FMA: bool>(exponent: f32) -> f32 {
    let weight = simd::exp::<FMA>(exponent);
    if exponent < SMALLEST { 0.0 } else { weight }
}

/// Ranges of exponents that a nucleus is looked for in: an eighth each, and the last one for all below.
const BINS: usize = 256;

#[inline(always)]
fn bin(exponent: f32) -> usize {
    ((exponent * -8.0) as usize).min(BINS - 1)
}

/// The sum of the weights in each bin.
struct Bins<'a> {
    weights: &'a TokenWeights,
    logits: &'a [f32],
}

impl Kernel for Bins<'_> {
    type Output = [f64; BINS];

    #[inline(always)]
    fn run<const FMA: bool>(self) -> [f64; BINS] {
        let (max, scale) = (self.weights.max, self.weights.scale);
        let mut sums = [0.0; BINS];
        let mut tile = [0.0_f32; BLOCK];
        for (index, block) in self.logits.chunks(BLOCK).enumerate() {
            let tile = &mut tile[..block.len()];
            for (weight, logit) in tile.iter_mut().zip(block) {
                *weight = weight_of::<FMA>((logit - max) * scale);
            }
            let first = (index * BLOCK) as u32;
            for token in &self.weights.excluded {
                if let Some(weight) = token.checked_sub(first).and_then(|at| tile.get_mut(at as usize)) {
                    *weight = 0.0;
                }
            }
            for (weight, logit) in tile.iter().zip(block) {
                sums[bin((logit - max) * scale)] += f64::from(*weight);
            }
        }
        sums
    }
}
