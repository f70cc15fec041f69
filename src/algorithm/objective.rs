//! Per-token losses and their exact gradients with respect to the log-probs.
//!
//! A mini-batch may be processed in several micro-batches: every function takes the counts of the WHOLE mini-batch, so
//! the outputs of its micro-batches add up to the same loss and gradient, however it was split.

use super::error::{AlgorithmError, check_finite, check_length};
use super::loss_stats::LossStats;
use crate::domain::spec::{LossAverage, PolicySpec};

/// Log-ratios are clamped to this (gradient 0), so that `exp` stays finite and no token can dominate a batch.
const LOG_RATIO_LIMIT: f64 = 20.0;
/// The low-variance KL estimate of a token is clamped to this (gradient 0).
const KL_LIMIT: f64 = 10.0;

/// What the loss needs to know about one response; every list has one entry per response token. The current policy's
/// log-probs are divided by the rollout temperature, as were the old ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResponseTokens<'a> {
    /// Log-probs under the current policy.
    pub logprobs: &'a [f64],
    /// Log-probs under the policy before the update (the trainer's forward, not the sampler's). Ignored by `sft`.
    pub old_logprobs: &'a [f64],
    /// Shaped advantages, from `Algorithm::weigh`. Ignored by `sft`.
    pub advantages: &'a [f64],
    /// Importance correction of each token's policy term, if the sampler's distribution differed from the trainer's.
    pub correction: Option<&'a [f64]>,
    /// Log-probs under the reference model; needed when the KL term is on.
    pub reference_logprobs: Option<&'a [f64]>,
    /// Log-probs under the current policy when it sees the masked image; none: a prompt without images, or an objective
    /// without a masked view.
    pub masked_logprobs: Option<&'a [f64]>,
    /// Does it carry no loss at all?
    pub ignored: bool,
}

/// Counts of a mini-batch: the denominators of the averages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchTotals {
    /// Response tokens.
    pub tokens: usize,
    /// Responses, empty ones included.
    pub responses: usize,
}

impl BatchTotals {
    /// Counts responses of these lengths.
    pub fn of(lengths: impl IntoIterator<Item = usize>) -> Self {
        lengths
            .into_iter()
            .fold(Self { tokens: 0, responses: 0 }, |t, n| Self { tokens: t.tokens + n, responses: t.responses + 1 })
    }

    /// The factor by which a token of a response of `length` tokens enters the mean.
    fn token_weight(self, average: LossAverage, length: usize) -> f64 {
        let denominator = match average {
            LossAverage::Token => self.tokens as f64,
            LossAverage::Sequence => self.responses as f64 * length as f64,
        };
        if denominator > 0.0 { 1.0 / denominator } else { 0.0 }
    }
}

/// The clipped surrogate's limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clipping {
    /// The ratio counts as at least `1 - low`.
    pub low: f64,
    /// The ratio counts as at most `1 + high`.
    pub high: f64,
    /// For negative advantages the loss is at most `-advantage * dual`.
    pub dual: Option<f64>,
    /// Weight of the low-variance KL term.
    pub kl_coef: f64,
}

impl Clipping {
    /// The limits in a policy's settings.
    pub fn of(spec: &PolicySpec) -> Self {
        Self { low: spec.clip_low, high: spec.clip_high, dual: spec.dual_clip, kl_coef: spec.kl_coef }
    }
}

/// A micro-batch's share of the mini-batch's loss.
#[derive(Debug, Clone, PartialEq)]
pub struct LossOutput {
    /// The policy term and every other term with its coefficient, already divided by the mini-batch's counts.
    pub loss: f64,
    /// The policy term alone.
    pub policy_loss: f64,
    /// One entry per response, in order.
    pub responses: Vec<ResponseLoss>,
    /// Sums for the logs.
    pub stats: LossStats,
}

/// Losses and gradients of one response, one entry per token.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResponseLoss {
    /// The factor by which each of its tokens enters the mean.
    pub weight: f64,
    /// The loss of each token, before averaging.
    pub token_loss: Vec<f64>,
    /// d loss / d logprob, averaging included.
    pub grad_logprobs: Vec<f64>,
    /// d loss / d masked logprob, averaging included; empty where the loss does not depend on them.
    pub grad_masked_logprobs: Vec<f64>,
}

impl ResponseLoss {
    /// That of a response without a loss.
    fn none(length: usize) -> Self {
        Self { token_loss: vec![0.0; length], grad_logprobs: vec![0.0; length], ..Self::default() }
    }
}

/// `-min(ratio * A, clip(ratio) * A)`, bounded by `-dual * A` where `A < 0`, plus the optional KL term, averaged over
/// the mini-batch that `totals` counts.
///
/// # Errors
/// Lengths that do not fit together, non-finite numbers, a missing reference.
pub fn clipped_surrogate(
    responses: &[ResponseTokens<'_>],
    totals: BatchTotals,
    average: LossAverage,
    clipping: Clipping,
) -> Result<LossOutput, AlgorithmError> {
    policy_loss(responses, totals, average, clipping.kl_coef, |response| {
        (0..response.logprobs.len())
            .map(|t| surrogate(response.logprobs[t] - response.old_logprobs[t], response.advantages[t], clipping))
            .collect()
    })
}

/// The common part of all policy losses: `tokens` gives each token's loss and gradient; this adds the importance
/// correction, the KL term and the average over the mini-batch that `totals` counts.
///
/// # Errors
/// Lengths that do not fit together, non-finite numbers, a missing reference.
pub fn policy_loss(
    responses: &[ResponseTokens<'_>],
    totals: BatchTotals,
    average: LossAverage,
    kl_coef: f64,
    tokens: impl Fn(&ResponseTokens<'_>) -> Vec<TokenLoss>,
) -> Result<LossOutput, AlgorithmError> {
    let mut output = LossOutput::empty(responses.len());
    for (i, response) in responses.iter().enumerate() {
        let length = response.logprobs.len();
        check_list("logprobs", i, response.logprobs, length)?;
        check_list("old_logprobs", i, response.old_logprobs, length)?;
        check_list("advantages", i, response.advantages, length)?;
        if let Some(correction) = response.correction {
            check_list("correction", i, correction, length)?;
        }
        let reference = reference_of(response, i, kl_coef)?;
        if response.ignored {
            output.responses.push(ResponseLoss::none(length));
            continue;
        }
        let weight = totals.token_weight(average, length);
        let mut losses = ResponseLoss { weight, ..ResponseLoss::default() };
        for (t, policy) in tokens(response).into_iter().enumerate() {
            let (new, old) = (response.logprobs[t], response.old_logprobs[t]);
            let factor = response.correction.map_or(1.0, |correction| correction[t]);
            policy.count(&mut output.stats);
            output.stats.tokens += 1;
            output.stats.approx_kl_sum += log_ratio(old - new);
            let (mut loss, mut gradient) = (factor * policy.loss, factor * policy.gradient);
            output.policy_loss += weight * loss;
            if let Some(reference) = reference {
                let (kl, kl_gradient) = low_variance_kl(new, reference[t]);
                output.stats.reference_kl_sum += kl;
                loss += kl_coef * kl;
                gradient += kl_coef * kl_gradient;
            }
            output.loss += weight * loss;
            losses.token_loss.push(loss);
            losses.grad_logprobs.push(weight * gradient);
        }
        output.responses.push(losses);
    }
    Ok(output)
}

/// `-logprob`, averaged over the mini-batch that `totals` counts.
///
/// # Errors
/// Non-finite log-probs.
pub fn negative_log_likelihood(
    responses: &[ResponseTokens<'_>],
    totals: BatchTotals,
    average: LossAverage,
) -> Result<LossOutput, AlgorithmError> {
    let mut output = LossOutput::empty(responses.len());
    for (i, response) in responses.iter().enumerate() {
        let length = response.logprobs.len();
        check_list("logprobs", i, response.logprobs, length)?;
        let weight = totals.token_weight(average, length);
        let token_loss: Vec<f64> = response.logprobs.iter().map(|l| -l).collect();
        output.policy_loss += token_loss.iter().map(|l| weight * l).sum::<f64>();
        output.stats.tokens += length;
        let grad_logprobs = vec![-weight; length];
        output.responses.push(ResponseLoss { weight, token_loss, grad_logprobs, ..ResponseLoss::default() });
    }
    output.loss = output.policy_loss;
    Ok(output)
}

impl LossOutput {
    fn empty(responses: usize) -> Self {
        Self { loss: 0.0, policy_loss: 0.0, responses: Vec::with_capacity(responses), stats: LossStats::default() }
    }
}

/// At which limit a token was clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clipped {
    /// None.
    No,
    /// The lower one.
    Low,
    /// The upper one.
    High,
}

/// The policy term of one token.
#[derive(Debug, Clone, Copy)]
pub struct TokenLoss {
    /// Its loss.
    pub loss: f64,
    /// d loss / d logprob.
    pub gradient: f64,
    /// At which limit it was clipped.
    pub clipped: Clipped,
    /// Did the dual clip bound it?
    pub dual: bool,
}

impl TokenLoss {
    fn count(self, stats: &mut LossStats) {
        stats.clipped_low += usize::from(self.clipped == Clipped::Low);
        stats.clipped_high += usize::from(self.clipped == Clipped::High);
        stats.dual_clipped += usize::from(self.dual);
    }
}

/// The clipped surrogate of a token whose log-ratio is `difference`.
pub fn surrogate(difference: f64, advantage: f64, clipping: Clipping) -> TokenLoss {
    let ratio = log_ratio(difference).exp();
    let clipped = ratio.max(1.0 - clipping.low).min(1.0 + clipping.high);
    let free = -ratio * advantage;
    let bounded = -clipped * advantage;
    let within = difference.abs() <= LOG_RATIO_LIMIT;
    let mut token = if bounded > free {
        let limit = if ratio < clipped { Clipped::Low } else { Clipped::High };
        TokenLoss { loss: bounded, gradient: 0.0, clipped: limit, dual: false }
    } else {
        TokenLoss { loss: free, gradient: if within { free } else { 0.0 }, clipped: Clipped::No, dual: false }
    };
    if let Some(dual) = clipping.dual
        && advantage < 0.0
        && token.loss > -advantage * dual
    {
        token.loss = -advantage * dual;
        token.gradient = 0.0;
        token.dual = true;
    }
    token
}

/// `-A * clip(ratio) * logprob` with the ratio detached: its gradient is `-A * clip(ratio)` for every ratio.
pub fn weighted_logprob(new: f64, old: f64, advantage: f64, low: Option<f64>, high: f64) -> TokenLoss {
    let ratio = log_ratio(new - old).exp();
    let (least, most) = (low.map_or(0.0, |low| 1.0 - low), 1.0 + high);
    let clipped = match ratio {
        r if r < least => Clipped::Low,
        r if r > most => Clipped::High,
        _ => Clipped::No,
    };
    let gradient = -advantage * ratio.clamp(least, most);
    TokenLoss { loss: gradient * new, gradient, clipped, dual: false }
}

/// `-A * 4 / tau * sigmoid(tau * (ratio - 1))`: its slope at ratio 1 is that of `-A * ratio`, and fades on either side.
pub fn gated_ratio(difference: f64, advantage: f64, temperature: f64) -> TokenLoss {
    let ratio = log_ratio(difference).exp();
    let gate = 1.0 / (1.0 + (-temperature * (ratio - 1.0)).exp());
    let within = difference.abs() <= LOG_RATIO_LIMIT;
    let gradient = if within { -advantage * 4.0 * gate * (1.0 - gate) * ratio } else { 0.0 };
    TokenLoss { loss: -advantage * 4.0 / temperature * gate, gradient, clipped: Clipped::No, dual: false }
}

/// The low-variance KL estimate `exp(d) - d - 1` with `d = reference - new`, and its derivative by `new`.
pub(super) fn low_variance_kl(new: f64, reference: f64) -> (f64, f64) {
    let difference = reference - new;
    let d = difference.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT);
    let kl = d.exp() - d - 1.0;
    if kl > KL_LIMIT || difference.abs() > LOG_RATIO_LIMIT {
        return (kl.min(KL_LIMIT), 0.0);
    }
    (kl, 1.0 - d.exp())
}

fn log_ratio(difference: f64) -> f64 {
    difference.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
}

fn reference_of<'a>(
    response: &ResponseTokens<'a>,
    index: usize,
    kl_coef: f64,
) -> Result<Option<&'a [f64]>, AlgorithmError> {
    if kl_coef == 0.0 {
        return Ok(None);
    }
    let reference = response.reference_logprobs.ok_or(AlgorithmError::MissingReference { response: index, kl_coef })?;
    check_list("reference_logprobs", index, reference, response.logprobs.len())?;
    Ok(Some(reference))
}

pub(super) fn check_list(
    name: &'static str,
    response: usize,
    values: &[f64],
    length: usize,
) -> Result<(), AlgorithmError> {
    check_length(name, response, values.len(), length)?;
    check_finite(name, response, values)
}
