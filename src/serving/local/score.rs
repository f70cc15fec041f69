//! Scoring: every given response is read once, and with an ablation a second time with cells hidden.

use std::sync::Arc;

use candle_core::Tensor;

use super::job::{Ablation, RawScore, ScoreJob};
use crate::model::hide::hide_cells;
use crate::model::logprob::{TokenTarget, Vocabulary, token_scores};
use crate::model::sampler;
use crate::model::{Batch, Capture, ImagePatches, Sequence};
use crate::serving::ServingError;
use crate::serving::attention_capture::{AttentionCapture, AttentionFrame, ImageStates, PromptPositions};
use crate::serving::model::ServedModel;

/// Guards the number of hidden cells against rounding: 0.1 of 30 cells is 3, not 4.
const COUNT_SLACK: f64 = 1e-9;
/// Attention probabilities that the positions of one part may have in all layers and heads together: 256 MiB.
const PART_VALUES: usize = 1 << 26;
/// Positions of a part at most.
const PART_LEN: usize = 256;

/// Scores every response of a job; stops early when the client has gone.
///
/// Responses are scored one at a time and in parts, whose attention is reduced to shares and maps before the next part
/// is read: scores never depend on the rest of the request, and memory grows with the length of the longest response,
/// not with its square.
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
    let mut heat = Heat::of(job.ablation, &positions);
    let plan = if heat.is_some() { job.plan.with_attention_maps() } else { job.plan.clone() };
    let mut attention = Vec::with_capacity(response.len());
    let hidden = read(served, &row, positions.len, &job.plan.layers, |frame, query| {
        // The last position predicts nothing of the response.
        if attention.len() < response.len() {
            let captured = frame.capture((0, query), 0, &positions, &plan);
            if let Some(heat) = &mut heat {
                heat.add(&captured);
            }
            let maps = if job.plan.maps_of_attention() { captured.maps } else { Vec::new() };
            attention.push(AttentionCapture { shares: captured.shares, maps });
        }
    })?;
    let mut score = RawScore { logprobs: logprobs(served, &hidden, positions.len, response)?, ..RawScore::default() };
    let states: Vec<Vec<f32>> = hidden.get(0)?.to_vec2()?;
    let images = ImageStates::read(&hidden.get(0)?, 0, &positions, &job.plan)?;
    let similarity = |shift: usize| {
        let states = (0..response.len()).map(|t| &states[positions.len + t - shift]);
        states.map(|state| images.similarity(state)).collect::<Option<Vec<f64>>>()
    };
    (score.similarity, score.predicting_similarity) = (similarity(0), similarity(1));
    for (state, captured) in states[positions.len..].iter().zip(attention) {
        let maps = images.maps(state);
        score.shares.push(captured.shares);
        score.maps.push(if maps.is_empty() { captured.maps } else { maps });
    }
    if let Some(ablation) = job.ablation {
        let cells = cells_to_hide(ablation, heat.as_ref(), job);
        let merge = served.model.info().image.as_ref().map_or(1, |input| input.merge_size);
        let images = hide_cells(&job.prompt.rendered.images, &cells, merge);
        let hidden = read(served, &sequence(job, response, images), positions.len, &[], |_, _| ())?;
        score.hidden_logprobs = Some(logprobs(served, &hidden, positions.len, response)?);
        score.hidden_cells = Some(cells);
    }
    Ok(score)
}

fn sequence(job: &ScoreJob, response: &[u32], images: Vec<Arc<ImagePatches>>) -> Sequence {
    Sequence { ids: [job.prompt.rendered.ids.as_slice(), response].concat(), images }
}

/// Reads one sequence: its prompt of `prompt_len` tokens, then the response in parts. `see` is shown the attention of
/// `layers` at each position from the last one of the prompt on, as a frame and the position in it. Returns final
/// hidden states `[1, seq_len, hidden]`.
fn read(
    served: &ServedModel,
    row: &Sequence,
    prompt_len: usize,
    layers: &[usize],
    mut see: impl FnMut(&AttentionFrame, usize),
) -> Result<Tensor, ServingError> {
    let model = served.model.as_ref();
    let batch = Batch::new(&[row], model.info())?;
    let features = model.features(&batch)?;
    let mut cache = model.new_cache(1, batch.seq_len)?;
    let (mut states, mut from, mut count) = (Vec::new(), 0, prompt_len);
    while from < batch.seq_len {
        let part = batch.part(from..from + count);
        let mut capture = Capture::attention(layers.to_vec(), if from == 0 { prompt_len - 1 } else { 0 });
        let features = features.as_ref().filter(|_| !part.image_slots.is_empty());
        states.push(model.forward(&part, features, Some(&mut cache), &mut capture)?);
        let frame = AttentionFrame::take(&mut capture)?;
        for query in 0..frame.queries() {
            see(&frame, query);
        }
        from += count;
        let fitting = PART_VALUES / (frame.heads_of_all_layers() * batch.seq_len).max(1);
        count = fitting.clamp(1, PART_LEN).min(batch.seq_len - from);
    }
    Ok(Tensor::cat(&states, 1)?)
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
fn cells_to_hide(ablation: Ablation, heat: Option<&Heat>, job: &ScoreJob) -> Vec<Vec<usize>> {
    let sizes: Vec<usize> = job.prompt.rendered.layout.iter().map(|l| l.rows * l.cols).collect();
    let all: Vec<(usize, usize)> =
        sizes.iter().enumerate().flat_map(|(image, size)| (0..*size).map(move |cell| (image, cell))).collect();
    let count = |share: f64| ((share * all.len() as f64 - COUNT_SLACK).ceil().max(0.0) as usize).min(all.len());
    let chosen: Vec<(usize, usize)> = match (ablation, heat) {
        (Ablation::Top(share), Some(heat)) => heat.most_attended(&all, count(share)),
        (Ablation::Image | Ablation::Top(_), _) => all,
        (Ablation::Random(share, seed), _) => draw(&all, count(share), seed),
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

/// Attention on each cell of each image, summed over the response's tokens.
struct Heat(Vec<Vec<f64>>);

impl Heat {
    /// An empty sum, where the ablation asks for the cells with the most attention.
    fn of(ablation: Option<Ablation>, positions: &PromptPositions) -> Option<Self> {
        let wanted = matches!(ablation, Some(Ablation::Top(_)));
        wanted.then(|| Self(positions.images.iter().map(|range| vec![0.0; range.len()]).collect()))
    }

    fn add(&mut self, captured: &AttentionCapture) {
        for (sum, map) in self.0.iter_mut().zip(&captured.maps) {
            sum.iter_mut().zip(map).for_each(|(s, v)| *s += f64::from(*v));
        }
    }

    /// The `count` cells with the most attention.
    fn most_attended(&self, all: &[(usize, usize)], count: usize) -> Vec<(usize, usize)> {
        let mut ranked = all.to_vec();
        ranked.sort_by(|a, b| self.0[b.0][b.1].total_cmp(&self.0[a.0][a.1]));
        ranked.truncate(count);
        ranked
    }
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
