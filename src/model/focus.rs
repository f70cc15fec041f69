//! Similarity of a hidden state to the visual prototype, the mean hidden state of the image tokens (arXiv 2604.09349,
//! Eq. 2-4).

use candle_core::Tensor;

use super::ModelError;

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

/// Cosine similarity of each asked state with its row's visual prototype, the mean over the row's image tokens of the
/// same final hidden states `[batch, seq_len, hidden]`. None for rows without image tokens.
pub fn similarity(hidden: &Tensor, rows: &[FocusRow]) -> Result<Vec<Option<Vec<f64>>>, ModelError> {
    let width = hidden.dim(2)?;
    let values: Vec<f32> = hidden.detach().flatten_all()?.to_vec1()?;
    let state = |slot: &u32| &values[*slot as usize * width..][..width];
    Ok(rows
        .iter()
        .map(|row| {
            let prototype = visual_prototype(row.image.iter().map(state))?;
            Some(row.states.iter().map(|slot| cosine(state(slot), &prototype)).collect())
        })
        .collect())
}
