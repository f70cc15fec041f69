//! Additional loss terms of PAPO and VPPO: the perception loss over the masked view, and entropy estimated by sampled
//! tokens.

use super::error::AlgorithmError;
use super::objective::{LossOutput, ResponseTokens, check_list, low_variance_kl};

/// Adds an entropy penalty: `coef` times the negative log-prob of every token, which estimates the entropy.
pub(super) fn add_entropy_penalty(output: &mut LossOutput, responses: &[ResponseTokens<'_>], coef: f64) {
    for (response, losses) in responses.iter().zip(&mut output.responses).filter(|(response, _)| !response.ignored) {
        for (t, logprob) in response.logprobs.iter().enumerate() {
            losses.token_loss[t] -= coef * logprob;
            losses.grad_logprobs[t] -= losses.weight * coef;
            output.loss -= losses.weight * coef * logprob;
        }
    }
}

/// Subtracts `coef` times each token's low-variance KL from the whole to the masked view, at most `cap` (beyond it the
/// gradient is 0), and adds `entropy_penalty` times the negative log-prob under the masked view; responses without one
/// are not changed.
///
/// # Errors
/// Masked log-probs of the wrong length or not finite.
pub(super) fn add_perception(
    output: &mut LossOutput,
    responses: &[ResponseTokens<'_>],
    coef: f64,
    cap: Option<f64>,
    entropy_penalty: f64,
) -> Result<(), AlgorithmError> {
    for (i, response) in responses.iter().enumerate() {
        let Some(masked) = response.masked_logprobs else { continue };
        check_list("masked_logprobs", i, masked, response.logprobs.len())?;
        let losses = &mut output.responses[i];
        if response.ignored {
            losses.grad_masked_logprobs = vec![0.0; masked.len()];
            continue;
        }
        for (t, (new, masked)) in response.logprobs.iter().zip(masked).enumerate() {
            let (kl, slope) = low_variance_kl(*new, *masked);
            output.stats.masked_tokens += 1;
            output.stats.perception_kl_sum += kl;
            output.stats.masked_surprise_sum -= masked;
            let (kl, slope) = match cap {
                Some(cap) if kl > cap => (cap, 0.0),
                _ => (kl, slope),
            };
            let loss = -coef * kl - entropy_penalty * masked;
            losses.token_loss[t] += loss;
            output.loss += losses.weight * loss;
            losses.grad_logprobs[t] -= losses.weight * coef * slope;
            // The KL depends on the difference of the two log-probs only.
            losses.grad_masked_logprobs.push(losses.weight * (coef * slope - entropy_penalty));
        }
    }
    Ok(())
}
