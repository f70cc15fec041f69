//! Sampling of the next token. Every sequence has its own random stream, so its draws never depend on the rest of the
//! batch.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use super::ModelInfo;

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
    masked: [u32; 2],
    rng: ChaCha8Rng,
}

/// The log-prob of `token` under `logits` as they are (temperature 1, nothing masked).
pub fn raw_logprob(logits: &[f32], token: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    f64::from(logits[token as usize] - max) - sum.ln()
}

impl Sampler {
    /// Temperature 0 is greedy. `info` names the placeholders that are never sampled.
    pub fn new(info: &ModelInfo, temperature: f64, top_p: f64, rng: ChaCha8Rng) -> Self {
        Self { temperature, top_p, masked: [info.image_token_id, info.video_token_id], rng }
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
        let allowed = |id: usize| !self.masked.contains(&(id as u32));
        let max = logits.iter().enumerate().filter(|(id, _)| allowed(*id)).map(|(_, l)| *l).fold(f32::MIN, f32::max);
        let weight = |l: f32| (f64::from(l - max) / self.temperature).exp();
        let mut weights: Vec<(u32, f64)> =
            logits.iter().enumerate().filter(|(id, _)| allowed(*id)).map(|(id, l)| (id as u32, weight(*l))).collect();
        let whole: f64 = weights.iter().map(|(_, w)| w).sum();
        if self.top_p < 1.0 {
            keep_nucleus(&mut weights, self.top_p);
        }
        let total: f64 = weights.iter().map(|(_, w)| w).sum();
        let mut left = draw * total;
        for (id, w) in &weights {
            left -= w;
            if left < 0.0 {
                return (*id, (w / whole).ln());
            }
        }
        // Rounding may leave a remainder at the end, which goes to the last token with a positive weight.
        let last = weights.iter().rev().find(|(_, w)| *w > 0.0);
        last.map_or_else(|| (self.greedy(logits), 0.0), |(id, w)| (*id, (w / whole).ln()))
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

/// Keeps the most probable tokens whose cumulative probability reaches `top_p`; at least one.
fn keep_nucleus(weights: &mut Vec<(u32, f64)>, top_p: f64) {
    weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let total: f64 = weights.iter().map(|(_, w)| w).sum();
    let mut sum = 0.0;
    let cut = weights.iter().position(|(_, w)| {
        sum += w;
        sum >= top_p * total
    });
    weights.truncate(cut.map_or(weights.len(), |at| at + 1));
}
