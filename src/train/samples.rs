//! Sample rollouts for the dashboard: texts, tokens and every per-token number.

use base64::Engine as _;
use image::RgbImage;

use crate::algorithm::{TrajectoryWeights, affine_focus};
use crate::domain::sample::{SampleGroup, SampleResponse, SampleShares};
use crate::images;
use crate::prompt::Processor;

use super::error::TrainError;
use super::group::{Group, Response};
use super::rollout::AttentionShares;
use super::source::Prompt;

/// A response's text as rewards and people see it: special tokens left out.
pub fn text(processor: &Processor, tokens: &[u32]) -> Result<String, TrainError> {
    processor.decode(tokens, true).map_err(TrainError::PromptSettings)
}

fn sample(prompt: &Prompt, eval: bool, responses: Vec<SampleResponse>) -> SampleGroup {
    SampleGroup {
        row: prompt.example.index,
        eval,
        prompt: prompt.rendered.text.clone(),
        answer: prompt.example.answer(),
        images: prompt.example.images.iter().filter_map(|image| png(image)).collect(),
        responses,
    }
}

/// PNG in base64. Encoding into memory cannot fail for a picture that was decoded before; if it does, the picture is
/// left out rather than the training stopped.
fn png(image: &RgbImage) -> Option<String> {
    Some(base64::engine::general_purpose::STANDARD.encode(images::png(image).ok()?))
}

/// Shares of attention, rounded: they are looked at, and nothing is computed from them.
fn shares(attention: &[AttentionShares]) -> Option<SampleShares> {
    let of = |part: fn(&AttentionShares) -> f64| attention.iter().map(|s| (part(s) * 1e4).round() / 1e4).collect();
    let shares = || SampleShares { image: of(|s| s.image), query: of(|s| s.query), generated: of(|s| s.generated) };
    (!attention.is_empty()).then(shares)
}

fn response(
    processor: &Processor,
    response: &Response,
    weights: &TrajectoryWeights,
) -> Result<SampleResponse, TrainError> {
    let Response { rollout, verdict, score, .. } = response;
    Ok(SampleResponse {
        text: text(processor, &rollout.tokens)?,
        tokens: rollout.tokens.iter().map(|id| processor.token_text(*id)).collect(),
        logprobs: score.logprobs.clone(),
        focus: (!weights.focus.is_empty()).then(|| weights.focus.clone()),
        attention: shares(&rollout.attention),
        psi: weights.psi.clone(),
        shaped_advantage: weights.shaped_advantage.clone(),
        phi: weights.phi,
        advantage: weights.advantage,
        reward: verdict.reward,
        reward_parts: verdict.parts.clone(),
        correct: verdict.accuracy.map(|accuracy| accuracy > 0.5),
        cut_off: rollout.cut_off,
    })
}

/// One held-out row and its answers.
pub fn evaluated(processor: &Processor, group: &Group) -> Result<SampleGroup, TrainError> {
    let answer = |answer: &Response| {
        let zeros = vec![0.0; answer.rollout.tokens.len()];
        let weights = TrajectoryWeights {
            focus: answer.rollout.similarity.iter().map(|s| affine_focus(*s)).collect(),
            psi: zeros.clone(),
            shaped_advantage: zeros,
            ..TrajectoryWeights::default()
        };
        response(processor, answer, &weights)
    };
    let answers = group.responses.iter().map(answer).collect::<Result<_, _>>()?;
    Ok(sample(&group.prompt, true, answers))
}

/// A training group as the learner saw it.
pub fn trained(processor: &Processor, group: &Group) -> Result<SampleGroup, TrainError> {
    let trained = |trained: &Response| response(processor, trained, &trained.weights);
    let responses = group.responses.iter().map(trained).collect::<Result<_, _>>()?;
    Ok(sample(&group.prompt, false, responses))
}
