//! Sampling of the next token. Every sequence has its own random stream, so its draws never depend on the rest of the
//! batch.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use super::ModelInfo;
use super::kernels::{DrawRule, TokenWeights};

/// A random stream that depends on `parts` only: the same parts give the same draws on any machine, in any batch.
pub fn stream(parts: &[u64]) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.to_le_bytes());
    }
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// A uniform number in [0, 1) with 53 random bits.
pub fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The sampler of one sequence.
#[derive(Debug, Clone)]
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    masked: Vec<u32>,
    weights: TokenWeights,
    rng: ChaCha8Rng,
}

/// The log-prob of `token` under `logits` as they are (temperature 1, nothing masked).
pub fn raw_logprob(logits: &[f32], token: u32) -> f64 {
    let mut weights = TokenWeights::default();
    weights.read(logits, 1.0);
    weights.logprob(logits[token as usize])
}

/// The `count` most likely tokens with their log-probs, most likely first.
pub fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f64)> {
    if count == 0 {
        return Vec::new();
    }
    let mut ranked: Vec<(u32, f32)> = logits.iter().enumerate().map(|(id, l)| (id as u32, *l)).collect();
    let by_rank = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < ranked.len() {
        ranked.select_nth_unstable_by(count - 1, by_rank);
        ranked.truncate(count);
    }
    ranked.sort_unstable_by(by_rank);
    let Some((first, highest)) = ranked.first().copied() else { return Vec::new() };
    let best = raw_logprob(logits, first);
    ranked.into_iter().map(|(id, logit)| (id, best + f64::from(logit) - f64::from(highest))).collect()
}

impl Sampler {
    /// Temperature 0 is greedy. `info` names the placeholders that are never sampled.
    pub fn new(info: &ModelInfo, temperature: f64, top_p: f64, rng: ChaCha8Rng) -> Self {
        let masked = info.placeholders.clone();
        Self { temperature, top_p, weights: TokenWeights::without(&masked), masked, rng }
    }

    /// Draws a token. One number is drawn from the stream per call unless greedy.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        self.sample_scored(logits).0
    }

    /// [`Self::sample`] with the token's log-prob under the whole distribution at this temperature: placeholders
    /// excluded, top-p ignored, as in the trainer. Greedy sampling gives 0.
    pub fn sample_scored(&mut self, logits: &[f32]) -> (u32, f64) {
        if self.temperature <= 0.0 {
            return (self.greedy(logits), 0.0);
        }
        let draw = uniform(&mut self.rng);
        self.weights.read(logits, ((1.0 / self.temperature) as f32).min(f32::MAX));
        let drawn = if self.top_p < 1.0 {
            draw_of(&self.weights.nucleus(logits, self.top_p), draw)
        } else {
            self.weights.at(logits, draw)
        };
        match drawn {
            Some(token) => (token, self.weights.logprob(logits[token as usize])),
            None => (self.greedy(logits), 0.0),
        }
    }

    /// How the next token is drawn on a device. One number is drawn from the stream per call unless greedy, the same as
    /// by [`Self::sample`].
    pub fn next_rule(&mut self) -> DrawRule {
        if self.temperature <= 0.0 {
            return DrawRule::GREEDY;
        }
        DrawRule { temperature: self.temperature, top_p: self.top_p, uniform: uniform(&mut self.rng) }
    }

    fn greedy(&self, logits: &[f32]) -> u32 {
        let mut best = (0, f32::NEG_INFINITY);
        for (id, logit) in logits.iter().enumerate() {
            if *logit > best.1 && !self.masked.contains(&(id as u32)) {
                best = (id as u32, *logit);
            }
        }
        best.0
    }
}

/// The token at the share `draw` of these weights. What rounding leaves over goes to the last one.
fn draw_of(weights: &[(u32, f64)], draw: f64) -> Option<u32> {
    let mut left = draw * weights.iter().map(|(_, weight)| weight).sum::<f64>();
    let drawn = weights.iter().find(|(_, weight)| {
        left -= weight;
        left < 0.0
    });
    drawn.or(weights.last()).map(|(token, _)| *token)
}
