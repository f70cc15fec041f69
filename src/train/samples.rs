//! Sample rollouts for people: texts, tokens and every per-token number.

use base64::Engine as _;
use image::RgbImage;

use crate::algorithm::{TrajectoryWeights, affine_focus};
use crate::domain::sample::{SampleGroup, SampleResponse};
use crate::images;
use crate::prompt::Processor;
use crate::reward::Verdict;

use super::error::TrainError;
use super::rollout::Rollout;
use super::source::Prompt;

/// A response's text as rewards and people see it: special tokens left out.
pub fn text(processor: &Processor, tokens: &[u32]) -> Result<String, TrainError> {
    processor.decode(tokens, true).map_err(TrainError::PromptSettings)
}

fn group(prompt: &Prompt, eval: bool, responses: Vec<SampleResponse>) -> SampleGroup {
    SampleGroup {
        row: prompt.example.index,
        eval,
        prompt: prompt.rendered.text.clone(),
        answer: prompt.example.answer(),
        images: prompt.example.images.iter().filter_map(|image| png(image)).collect(),
        responses,
    }
}

/// PNG in base64. Encoding into memory cannot fail for a picture that was decoded before; if it does, the picture is left
/// out rather than the training stopped.
fn png(image: &RgbImage) -> Option<String> {
    Some(base64::engine::general_purpose::STANDARD.encode(images::png(image).ok()?))
}

fn response(
    processor: &Processor,
    rollout: &Rollout,
    verdict: &Verdict,
    weights: &TrajectoryWeights,
    logprobs: &[f64],
) -> Result<SampleResponse, TrainError> {
    Ok(SampleResponse {
        text: text(processor, &rollout.tokens)?,
        tokens: rollout.tokens.iter().map(|id| processor.token_text(*id)).collect(),
        logprobs: logprobs.to_vec(),
        focus: (!weights.focus.is_empty()).then(|| weights.focus.clone()),
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
pub fn evaluated(
    processor: &Processor,
    prompt: &Prompt,
    answers: &[(Rollout, Verdict)],
) -> Result<SampleGroup, TrainError> {
    let answer = |(answer, verdict): &(Rollout, Verdict)| {
        let zeros = vec![0.0; answer.tokens.len()];
        let weights = TrajectoryWeights {
            focus: answer.similarity.iter().map(|s| affine_focus(*s)).collect(),
            psi: zeros.clone(),
            shaped_advantage: zeros,
            ..TrajectoryWeights::default()
        };
        response(processor, answer, verdict, &weights, &[])
    };
    Ok(group(prompt, true, answers.iter().map(answer).collect::<Result<_, _>>()?))
}

/// A training group as the learner saw it; `parts` holds rollout, verdict, weights and log-probs of each response.
pub fn trained<'a>(
    processor: &Processor,
    prompt: &Prompt,
    parts: impl Iterator<Item = (&'a Rollout, &'a Verdict, &'a TrajectoryWeights, &'a [f64])>,
) -> Result<SampleGroup, TrainError> {
    let responses = parts
        .map(|(rollout, verdict, weights, logprobs)| response(processor, rollout, verdict, weights, logprobs))
        .collect::<Result<_, _>>()?;
    Ok(group(prompt, false, responses))
}
