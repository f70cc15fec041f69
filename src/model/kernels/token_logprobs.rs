//! Log-probs of given tokens, the entropy of their distributions, and the gradients by the logits.

use candle_core::{D, DType, Device, Result, Tensor};

use super::simd::{self, Kernel, mul_add};
use super::strided::Guard;
use super::{Form, MASKED, log_softmax};
use crate::model::transfers::{down, up};

/// Logit of an excluded token relative to the largest: its probability rounds to zero.
const BELOW: f32 = -87.0;

/// How logits become a distribution.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// Logits are divided by it.
    pub temperature: f64,
    /// Excluded tokens: their probability is zero.
    pub excluded: Vec<u32>,
}

impl Distribution {
    /// Log-probs `[n, vocabulary]` of logits; no gradient flows to excluded tokens.
    pub fn log_probs(&self, logits: &Tensor) -> Result<Tensor> {
        let mut logits = logits.clone();
        if (self.temperature - 1.0).abs() > f64::EPSILON {
            logits = (logits / self.temperature)?;
        }
        if !self.excluded.is_empty() {
            let size = logits.dim(D::Minus1)?;
            logits = logits.broadcast_add(&exclusion(size, &self.excluded, logits.device())?)?;
        }
        log_softmax(&logits)
    }
}

/// What is added to logits of a vocabulary, `[vocab]`, so that `excluded` tokens have no weight: made on the device
/// from their numbers.
pub fn exclusion(size: usize, excluded: &[u32], device: &Device) -> Result<Tensor> {
    // [vocab]
    let none = Tensor::zeros(size, DType::F32, device)?;
    let mut known: Vec<u32> = excluded.iter().copied().filter(|token| (*token as usize) < size).collect();
    known.sort_unstable();
    known.dedup();
    if known.is_empty() {
        return Ok(none);
    }
    let count = known.len();
    // [excluded tokens]
    let low = Tensor::full(MASKED, count, device)?;
    none.index_add(&up("excluded tokens", known, count, device)?, &low, 0)
}

/// Log-prob of each given token and, if requested, entropy in nats of each line; no gradient. `logits: [n,
/// vocabulary]`, `tokens`: one token per line.
pub fn token_logprobs(
    logits: &Tensor,
    tokens: &[u32],
    distribution: &Distribution,
    entropy: bool,
) -> Result<(Vec<f64>, Vec<f64>)> {
    token_logprobs_by(Form::of(&[logits]), logits, tokens, distribution, entropy)
}

/// [`token_logprobs`] in a chosen form.
pub fn token_logprobs_by(
    form: Form,
    logits: &Tensor,
    tokens: &[u32],
    distribution: &Distribution,
    entropy: bool,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let logits = logits.detach();
    check(&logits, tokens)?;
    if form == Form::Fused {
        let logits = logits.contiguous()?;
        let guard = Guard::of(&logits);
        return Ok(simd::run(Scores { lines: Lines::new(guard.values()?, tokens, distribution), entropy }));
    }
    let found = down("log-probs", &token_logprobs_on_device(&logits, tokens, distribution, entropy)?)?;
    let column = |i: usize| found.iter().skip(i).step_by(1 + usize::from(entropy)).copied().map(f64::from).collect();
    Ok((column(0), if entropy { column(1) } else { Vec::new() }))
}

/// The same where the logits are: `[n, 1]`, or with the entropy `[n, 2]`.
pub fn token_logprobs_on_device(
    logits: &Tensor,
    tokens: &[u32],
    distribution: &Distribution,
    entropy: bool,
) -> Result<Tensor> {
    check(logits, tokens)?;
    let logs = distribution.log_probs(&logits.detach())?;
    let chosen = up("scored tokens", tokens.to_vec(), (tokens.len(), 1), logits.device())?;
    let own = logs.gather(&chosen, 1)?;
    if !entropy {
        return Ok(own);
    }
    let spread = (logs.exp()? * &logs)?.sum_keepdim(D::Minus1)?.neg()?;
    // [targets, log-prob and entropy]
    Tensor::cat(&[&own, &spread], 1)
}

/// The gradient `[n, vocabulary]` by the logits, from those by each log-prob and, where it is part of the loss, by each
/// entropy. With `p = softmax(logits / temperature)`: `d log p_t / d logit_j = ([j = t] - p_j) / temperature`,
/// `d H / d logit_j = -p_j (log p_j + H) / temperature`.
pub fn token_logprobs_backward(
    logits: &Tensor,
    tokens: &[u32],
    distribution: &Distribution,
    by_logprob: &[f32],
    by_entropy: Option<&[f32]>,
) -> Result<Tensor> {
    token_logprobs_backward_by(Form::of(&[logits]), logits, tokens, distribution, by_logprob, by_entropy)
}

/// [`token_logprobs_backward`] in a chosen form.
pub fn token_logprobs_backward_by(
    form: Form,
    logits: &Tensor,
    tokens: &[u32],
    distribution: &Distribution,
    by_logprob: &[f32],
    by_entropy: Option<&[f32]>,
) -> Result<Tensor> {
    let logits = logits.detach();
    check(&logits, tokens)?;
    let count = tokens.len();
    if by_logprob.len() != count || by_entropy.is_some_and(|slopes| slopes.len() != count) {
        candle_core::bail!("{count} tokens do not fit {} gradients", by_logprob.len());
    }
    if form == Form::Composed {
        return composed_backward(&logits, tokens, distribution, by_logprob, by_entropy);
    }
    let logits = logits.contiguous()?;
    let slopes = {
        let guard = Guard::of(&logits);
        simd::run(Slopes { lines: Lines::new(guard.values()?, tokens, distribution), by_logprob, by_entropy })
    };
    // [targets, vocab]
    Tensor::from_vec(slopes, logits.shape(), &Device::Cpu)
}

fn check(logits: &Tensor, tokens: &[u32]) -> Result<()> {
    let (lines, size) = logits.dims2()?;
    let beyond = tokens.iter().find(|token| **token as usize >= size);
    if lines != tokens.len() || beyond.is_some() {
        candle_core::bail!("{} tokens {beyond:?} do not fit logits {:?}", tokens.len(), logits.shape());
    }
    Ok(())
}

fn composed_backward(
    logits: &Tensor,
    tokens: &[u32],
    distribution: &Distribution,
    by_logprob: &[f32],
    by_entropy: Option<&[f32]>,
) -> Result<Tensor> {
    let ((lines, size), device) = (logits.dims2()?, logits.device());
    // [targets, 1]
    let column = |values: &[f32]| up("slopes", values.to_vec(), (lines, 1), device);
    let logs = distribution.log_probs(logits)?;
    let shares = logs.exp()?;
    let mut slope = shares.broadcast_mul(&column(by_logprob)?.neg()?)?;
    if let Some(by_entropy) = by_entropy {
        let spread = (&shares * &logs)?;
        // sum(p log p) is -H.
        let centred = (spread.clone() - shares.broadcast_mul(&spread.sum_keepdim(D::Minus1)?)?)?;
        slope = (slope - centred.broadcast_mul(&column(by_entropy)?)?)?;
    }
    let at = tokens.iter().enumerate().map(|(line, token)| (line * size) as u32 + token).collect();
    // Both [targets].
    let (at, own) = (up("scored tokens", at, lines, device)?, up("slopes", by_logprob.to_vec(), lines, device)?);
    slope.flatten_all()?.index_add(&at, &own, 0)?.reshape((lines, size))? / distribution.temperature
}

/// Lines of logits and the token of each.
struct Lines<'a> {
    logits: &'a [f32],
    tokens: &'a [u32],
    size: usize,
    scale: f32,
    excluded: &'a [u32],
}

impl<'a> Lines<'a> {
    fn new(logits: &'a [f32], tokens: &'a [u32], distribution: &'a Distribution) -> Self {
        let size = logits.len() / tokens.len().max(1);
        let scale = (1.0 / distribution.temperature) as f32;
        Self { logits, tokens, size, scale, excluded: &distribution.excluded }
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Writes each logit of a line minus the largest to `below`, and the exponential of that to `weights` (0 for
    /// excluded tokens); returns the sum of the weights.
    #[inline(always)]
    fn weigh<const FMA: bool>(&self, line: usize, below: &mut [f32], weights: &mut [f32]) -> f32 {
        for (below, logit) in below.iter_mut().zip(&self.logits[line * self.size..]) {
            *below = logit * self.scale;
        }
        for id in self.excluded {
            if let Some(value) = below.get_mut(*id as usize) {
                *value = MASKED;
            }
        }
        let largest = simd::max(below);
        for value in below.iter_mut() {
            *value -= largest;
        }
        for id in self.excluded {
            if let Some(value) = below.get_mut(*id as usize) {
                *value = BELOW;
            }
        }
        weights.copy_from_slice(below);
        let total = simd::exp_shifted::<FMA>(weights, 0.0);
        for id in self.excluded {
            if let Some(weight) = weights.get_mut(*id as usize) {
                *weight = 0.0;
            }
        }
        total
    }
}

struct Scores<'a> {
    lines: Lines<'a>,
    entropy: bool,
}

impl Kernel for Scores<'_> {
    type Output = (Vec<f64>, Vec<f64>);

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        let Self { lines, entropy } = self;
        let mut logprobs = Vec::with_capacity(lines.len());
        let mut spread = Vec::with_capacity(if entropy { lines.len() } else { 0 });
        let (mut below, mut weights) = (vec![0.0; lines.size], vec![0.0; lines.size]);
        for (line, token) in lines.tokens.iter().enumerate() {
            let total = lines.weigh::<FMA>(line, &mut below, &mut weights);
            let log_total = f64::from(total).ln();
            // An excluded token gets the same log-prob as from the mask of the composed form.
            let own = if lines.excluded.contains(token) { MASKED } else { below[*token as usize] };
            logprobs.push(f64::from(own) - log_total);
            if entropy {
                let mean = f64::from(simd::dot::<FMA>(&weights, &below)) / f64::from(total);
                spread.push(log_total - mean);
            }
        }
        (logprobs, spread)
    }
}

struct Slopes<'a> {
    lines: Lines<'a>,
    by_logprob: &'a [f32],
    by_entropy: Option<&'a [f32]>,
}

impl Kernel for Slopes<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let Self { lines, by_logprob, by_entropy } = self;
        let mut out = Vec::with_capacity(lines.logits.len());
        let (mut below, mut weights) = (vec![0.0; lines.size], vec![0.0; lines.size]);
        for (line, token) in lines.tokens.iter().enumerate() {
            let total = lines.weigh::<FMA>(line, &mut below, &mut weights);
            let (share, slope) = (1.0 / total, by_logprob[line]);
            // -p (slope + c (log p + H)) with log p + H = below - mean of below.
            let factor = by_entropy.map_or(0.0, |slopes| slopes[line]);
            let mean = if factor == 0.0 { 0.0 } else { simd::dot::<FMA>(&weights, &below) * share };
            let outer = -share * lines.scale;
            for (weight, below) in weights.iter_mut().zip(&below) {
                *weight = *weight * outer * mul_add::<FMA>(factor, *below - mean, slope);
            }
            weights[*token as usize] += slope * lines.scale;
            out.extend_from_slice(&weights);
        }
        out
    }
}
