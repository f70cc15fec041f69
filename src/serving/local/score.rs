//! Scoring: one forward pass per given response, and with an ablation a second one with cells hidden.

use std::sync::Arc;

use candle_core::Tensor;

use super::job::{Ablation, RawScore, ScoreJob};
use crate::model::hide::hide_cells;
use crate::model::logprob::{TokenTarget, Vocabulary, token_scores};
use crate::model::sampler;
use crate::model::{Batch, Capture, ImagePatches, Sequence};
use crate::serving::ServingError;
use crate::serving::attention_capture::{AttentionFrame, ImageStates, PromptPositions};
use crate::serving::model::ServedModel;

/// Guards the number of hidden cells against rounding: 0.1 of 30 cells is 3, not 4.
const COUNT_SLACK: f64 = 1e-9;

/// Scores every response of a job; stops early when the client has gone.
///
/// Responses are scored one at a time: scores never depend on the rest of the request, and memory is bounded by the
/// longest.
///
/// # Errors
/// A model that fails.
pub fn score(served: &ServedModel, job: &ScoreJob) -> Result<Vec<RawScore>, ServingError> {
    let mut scores = Vec::with_capacity(job.responses.len());
    for response in &job.responses {
        if job.result.is_closed() {
            break;
        }
        scores.push(score_one(served, job, response)?);
    }
    Ok(scores)
}

fn score_one(served: &ServedModel, job: &ScoreJob, response: &[u32]) -> Result<RawScore, ServingError> {
    let positions = PromptPositions::of(&job.prompt);
    let row = sequence(job, response, job.prompt.rendered.images.clone());
    let mut capture = Capture::attention(job.plan.layers.clone(), positions.len - 1);
    let hidden = read(served, &row, &mut capture)?;
    let frame = AttentionFrame::take(&mut capture)?;
    let mut score = RawScore { logprobs: logprobs(served, &hidden, positions.len, response)?, ..RawScore::default() };
    let states: Vec<Vec<f32>> = hidden.get(0)?.to_vec2()?;
    let images = ImageStates::read(&hidden.get(0)?, 0, &positions, &job.plan)?;
    let state_of = |t: usize| &states[positions.len + t];
    let similarity = |shift: usize| {
        let states = (0..response.len()).map(|t| &states[positions.len + t - shift]);
        states.map(|state| images.similarity(state)).collect::<Option<Vec<f64>>>()
    };
    (score.similarity, score.predicting_similarity) = (similarity(0), similarity(1));
    for t in 0..response.len() {
        let captured = frame.capture((0, t), 0, &positions, &job.plan);
        let maps = images.maps(state_of(t));
        score.shares.push(captured.shares);
        score.maps.push(if maps.is_empty() { captured.maps } else { maps });
    }
    if let Some(ablation) = job.ablation {
        let cells = cells_to_hide(ablation, &frame, job, response.len());
        let images = hide_cells(&job.prompt.rendered.images, &cells, served.model.info().merge_size);
        let hidden = read(served, &sequence(job, response, images), &mut Capture::none())?;
        score.hidden_logprobs = Some(logprobs(served, &hidden, positions.len, response)?);
        score.hidden_cells = Some(cells);
    }
    Ok(score)
}

fn sequence(job: &ScoreJob, response: &[u32], images: Vec<Arc<ImagePatches>>) -> Sequence {
    Sequence { ids: [job.prompt.rendered.ids.as_slice(), response].concat(), images }
}

/// Final hidden states `[1, seq_len, hidden]` of one sequence.
fn read(served: &ServedModel, row: &Sequence, capture: &mut Capture) -> Result<Tensor, ServingError> {
    let model = served.model.as_ref();
    let batch = Batch::new(&[row], model.info())?;
    let features = model.features(&batch)?;
    Ok(model.forward(&batch, features.as_ref(), None, capture)?)
}

fn logprobs(served: &ServedModel, hidden: &Tensor, prompt: usize, response: &[u32]) -> Result<Vec<f64>, ServingError> {
    let targets: Vec<TokenTarget> = response
        .iter()
        .enumerate()
        .map(|(t, token)| TokenTarget { slot: (prompt + t - 1) as u32, token: *token })
        .collect();
    let vocabulary = Vocabulary::plain(1.0);
    Ok(token_scores(served.model.as_ref(), hidden, &targets, &vocabulary, false)?.logprobs)
}

/// The cells to hide, by image, in ascending order.
fn cells_to_hide(ablation: Ablation, frame: &AttentionFrame, job: &ScoreJob, tokens: usize) -> Vec<Vec<usize>> {
    let sizes: Vec<usize> = job.prompt.rendered.layout.iter().map(|l| l.rows * l.cols).collect();
    let all: Vec<(usize, usize)> =
        sizes.iter().enumerate().flat_map(|(image, size)| (0..*size).map(move |cell| (image, cell))).collect();
    let count = |share: f64| ((share * all.len() as f64 - COUNT_SLACK).ceil().max(0.0) as usize).min(all.len());
    let chosen: Vec<(usize, usize)> = match ablation {
        Ablation::Image => all,
        Ablation::Top(share) => most_attended(frame, job, tokens, &all, count(share)),
        Ablation::Random(share, seed) => draw(&all, count(share), seed),
    };
    let mut cells = vec![Vec::new(); sizes.len()];
    for (image, cell) in chosen {
        cells[image].push(cell);
    }
    for list in &mut cells {
        list.sort_unstable();
    }
    cells
}

/// The cells with the most attention, summed over the response's tokens.
fn most_attended(
    frame: &AttentionFrame,
    job: &ScoreJob,
    tokens: usize,
    all: &[(usize, usize)],
    count: usize,
) -> Vec<(usize, usize)> {
    let positions = PromptPositions::of(&job.prompt);
    let plan = job.plan.with_attention_maps();
    let mut heat: Vec<Vec<f64>> = positions.images.iter().map(|range| vec![0.0; range.len()]).collect();
    for t in 0..tokens {
        for (sum, map) in heat.iter_mut().zip(frame.capture((0, t), 0, &positions, &plan).maps) {
            sum.iter_mut().zip(map).for_each(|(s, v)| *s += f64::from(v));
        }
    }
    let mut ranked = all.to_vec();
    ranked.sort_by(|a, b| heat[b.0][b.1].total_cmp(&heat[a.0][a.1]));
    ranked.truncate(count);
    ranked
}

/// `count` different cells.
fn draw(all: &[(usize, usize)], count: usize, seed: u64) -> Vec<(usize, usize)> {
    let mut rng = sampler::stream(&[seed]);
    let mut left = all.to_vec();
    (0..count)
        .map(|_| {
            let at = (sampler::uniform(&mut rng) * left.len() as f64) as usize;
            left.swap_remove(at.min(left.len() - 1))
        })
        .collect()
}
