//! Rows as one batch, and where their tokens stand in it.

use std::ops::Range;
use std::sync::Arc;

use crate::model::focus::FocusRow;
use crate::model::logprob::TokenTarget;
use crate::model::{Batch, ImagePatches, ModelInfo, Sequence, Tree};

use super::error::TrainError;
use super::micro_batch::{Packing, share_prompt};
use super::train_row::TrainRow;

/// Where a row's prompt and response stand in its batch.
#[derive(Debug, Clone)]
struct Place {
    prompt: Range<usize>,
    response: Range<usize>,
}

impl Place {
    /// The state that predicts response token `t`: the one before it, which is the prompt's last for the first token.
    fn predicting(&self, t: usize) -> u32 {
        (if t == 0 { self.prompt.end - 1 } else { self.response.start + t - 1 }) as u32
    }

    /// The state that reads response token `t`.
    fn reading(&self, t: usize) -> u32 {
        (self.response.start + t) as u32
    }
}

/// Which states a row's tokens are predicted and read from, in a batch.
pub(super) struct Layout {
    pub(super) batch: Batch,
    pub(super) targets: Vec<TokenTarget>,
    places: Vec<Place>,
}

impl Layout {
    pub(super) fn new(rows: &[&TrainRow], info: &ModelInfo, packing: Packing) -> Result<Self, TrainError> {
        let images: Vec<&[Arc<ImagePatches>]> = rows.iter().map(|row| row.sequence.images.as_slice()).collect();
        Self::of(rows, &images, info, packing)
    }

    /// The same places over the masked images.
    pub(super) fn masked(rows: &[&TrainRow], info: &ModelInfo, packing: Packing) -> Result<Self, TrainError> {
        let images: Vec<&[Arc<ImagePatches>]> = rows.iter().map(|row| row.masked_or_own()).collect();
        Self::of(rows, &images, info, packing)
    }

    fn of(
        rows: &[&TrainRow],
        images: &[&[Arc<ImagePatches>]],
        info: &ModelInfo,
        packing: Packing,
    ) -> Result<Self, TrainError> {
        let (batch, places) = match packing {
            Packing::Padded => padded(rows, images, info)?,
            Packing::Shared => shared(rows, images, info)?,
        };
        let of_row = |(row, place): (&&TrainRow, &Place)| -> Vec<TokenTarget> {
            let response = row.sequence.ids[row.prompt_len..].iter().enumerate();
            response.map(|(t, id)| TokenTarget { slot: place.predicting(t), token: *id }).collect()
        };
        let targets = rows.iter().zip(&places).flat_map(of_row).collect();
        Ok(Self { batch, targets, places })
    }

    /// Image slots and state slots of every row: the states that read its tokens, or those that predict them.
    pub(super) fn focus_rows(&self, predicting: bool) -> Vec<FocusRow> {
        let slots = &self.batch.image_slots;
        let focus = |place: &Place| {
            let first = slots.partition_point(|slot| (*slot as usize) < place.prompt.start);
            let image = slots[first..].iter().copied().take_while(|slot| (*slot as usize) < place.prompt.end).collect();
            let state = |t| if predicting { place.predicting(t) } else { place.reading(t) };
            FocusRow { image, states: (0..place.response.len()).map(state).collect() }
        };
        self.places.iter().map(focus).collect()
    }
}

fn padded(
    rows: &[&TrainRow],
    images: &[&[Arc<ImagePatches>]],
    info: &ModelInfo,
) -> Result<(Batch, Vec<Place>), TrainError> {
    let sequence = |(row, images): (&&TrainRow, &&[Arc<ImagePatches>])| Sequence {
        ids: row.sequence.ids.clone(),
        images: images.to_vec(),
    };
    let sequences: Vec<Sequence> = rows.iter().zip(images).map(sequence).collect();
    let batch = Batch::new(&sequences.iter().collect::<Vec<_>>(), info)?;
    let place = |(index, row): (usize, &&TrainRow)| {
        let end = (index + 1) * batch.seq_len;
        let split = end - row.response_len();
        Place { prompt: split - row.prompt_len..split, response: split..end }
    };
    let places = rows.iter().enumerate().map(place).collect();
    Ok((batch, places))
}

fn shared(
    rows: &[&TrainRow],
    images: &[&[Arc<ImagePatches>]],
    info: &ModelInfo,
) -> Result<(Batch, Vec<Place>), TrainError> {
    let responses: Vec<&[u32]> = rows.iter().map(|row| &row.sequence.ids[row.prompt_len..]).collect();
    let (mut trees, mut places, mut at) = (Vec::new(), Vec::with_capacity(rows.len()), 0);
    let mut first = 0;
    while first < rows.len() {
        let alike = |row: &usize| share_prompt(rows[first], images[first], rows[*row], images[*row]);
        let count = (first..rows.len()).take_while(alike).count();
        let prompt = &rows[first].sequence.ids[..rows[first].prompt_len];
        let trunk = at..at + prompt.len();
        at = trunk.end;
        for response in &responses[first..first + count] {
            places.push(Place { prompt: trunk.clone(), response: at..at + response.len() });
            at += response.len();
        }
        trees.push(Tree { prompt, images: images[first], responses: &responses[first..first + count] });
        first += count;
    }
    Ok((Batch::packed(&trees, info)?, places))
}
