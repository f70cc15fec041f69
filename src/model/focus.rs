//! Similarity of a hidden state to the visual prototype, the mean hidden state of the image tokens (arXiv 2604.09349,
//! Eq. 2-4).

use candle_core::{D, Tensor};

use super::ModelError;
use super::transfers::{down, is_gpu, up};

/// Lower bound of norms, so that a zero state has similarity 0.
const NORM_FLOOR: f64 = 1e-8;

/// One row whose similarity is asked for; slots are flat positions `row * seq_len + position`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FocusRow {
    /// Slots of the prompt's image tokens; empty for text-only prompts.
    pub image: Vec<u32>,
    /// Slots of the states to compare, one per response token.
    pub states: Vec<u32>,
}

/// The visual prototype `mu_v`: the mean of the image tokens' states.
pub fn visual_prototype<'a>(states: impl Iterator<Item = &'a [f32]>) -> Option<Vec<f64>> {
    let mut sum: Vec<f64> = Vec::new();
    let mut count = 0_usize;
    for state in states {
        sum.resize(state.len(), 0.0);
        sum.iter_mut().zip(state).for_each(|(s, v)| *s += f64::from(*v));
        count += 1;
    }
    for value in &mut sum {
        *value /= count as f64;
    }
    (count > 0).then_some(sum)
}

/// Cosine of a state and a prototype.
pub fn cosine(state: &[f32], prototype: &[f64]) -> f64 {
    let (mut dot, mut a, mut b) = (0.0, 0.0, 0.0);
    for (x, y) in state.iter().zip(prototype) {
        let x = f64::from(*x);
        dot += x * y;
        a += x * x;
        b += y * y;
    }
    dot / (a.sqrt().max(NORM_FLOOR) * b.sqrt().max(NORM_FLOOR))
}

/// The visual prototypes `[rows, hidden]` of rows whose image tokens have these slots in final hidden states
/// `[batch, seq_len, hidden]`, where the states are; 0 for rows without images.
pub fn prototypes(hidden: &Tensor, images: &[&[u32]]) -> Result<Tensor, ModelError> {
    let (rows, seq_len, width) = hidden.dims3()?;
    let device = hidden.device();
    // [rows, hidden]
    let none = Tensor::zeros((images.len(), width), hidden.dtype(), device)?;
    let slots: Vec<u32> = images.concat();
    let count = slots.len();
    if count == 0 {
        return Ok(none);
    }
    let owners = images.iter().enumerate().flat_map(|(row, slots)| std::iter::repeat_n(row as u32, slots.len()));
    let owners = up("rows of image tokens", owners.collect(), count, device)?;
    let slots = up("image tokens", slots, count, device)?;
    let states = hidden.detach().reshape((rows * seq_len, width))?.index_select(&slots, 0)?;
    let shares = images.iter().map(|slots| 1.0 / slots.len().max(1) as f32).collect();
    let shares = up("image token shares", shares, (images.len(), 1), device)?;
    Ok(none.index_add(&owners, &states, 0)?.broadcast_mul(&shares)?)
}

/// Cosines `[n]` of states and prototypes `[n, hidden]`, where they are.
pub fn cosines(states: &Tensor, prototypes: &Tensor) -> Result<Tensor, ModelError> {
    let norm = |x: &Tensor| x.sqr()?.sum(D::Minus1)?.sqrt()?.maximum(NORM_FLOOR);
    let dot = (states * prototypes)?.sum(D::Minus1)?;
    Ok((dot / (norm(states)? * norm(prototypes)?)?)?)
}

/// [`similarity`] on a GPU: one transfer for all rows.
fn similarity_on_device(hidden: &Tensor, rows: &[FocusRow]) -> Result<Vec<Option<Vec<f64>>>, ModelError> {
    let (batch, seq_len, width) = hidden.dims3()?;
    // Rows of a group share the image of their prompt.
    let mut images: Vec<&[u32]> = Vec::new();
    let mut owners = Vec::new();
    for row in rows {
        if images.last() != Some(&row.image.as_slice()) {
            images.push(&row.image);
        }
        owners.extend(std::iter::repeat_n(images.len() as u32 - 1, row.states.len()));
    }
    let slots: Vec<u32> = rows.iter().flat_map(|row| row.states.iter().copied()).collect();
    let count = slots.len();
    let mut found = Vec::new();
    if count > 0 {
        let device = hidden.device();
        let (slots, owners) = (up("states", slots, count, device)?, up("their rows", owners, count, device)?);
        let states = hidden.detach().reshape((batch * seq_len, width))?.index_select(&slots, 0)?;
        found = down("focus", &cosines(&states, &prototypes(hidden, &images)?.index_select(&owners, 0)?)?)?;
    }
    let mut found = found.into_iter().map(f64::from);
    let of_row = |row: &FocusRow| {
        let values: Vec<f64> = found.by_ref().take(row.states.len()).collect();
        (!row.image.is_empty()).then_some(values)
    };
    Ok(rows.iter().map(of_row).collect())
}

/// Cosine similarity of each asked state with its row's visual prototype, the mean over the row's image tokens of the
/// same final hidden states `[batch, seq_len, hidden]`. None for rows without image tokens.
pub fn similarity(hidden: &Tensor, rows: &[FocusRow]) -> Result<Vec<Option<Vec<f64>>>, ModelError> {
    if is_gpu(hidden.device()) {
        return similarity_on_device(hidden, rows);
    }
    let width = hidden.dim(2)?;
    let values = down("states", &hidden.detach())?;
    let state = |slot: &u32| &values[*slot as usize * width..][..width];
    Ok(rows
        .iter()
        .map(|row| {
            let prototype = visual_prototype(row.image.iter().map(state))?;
            Some(row.states.iter().map(|slot| cosine(state(slot), &prototype)).collect())
        })
        .collect())
}
