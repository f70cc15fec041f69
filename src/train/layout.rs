//! Rows as one padded batch, and where their tokens stand in it.

use crate::model::focus::FocusRow;
use crate::model::logprob::TokenTarget;
use crate::model::{Batch, ModelInfo, Sequence};

use super::error::TrainError;
use super::learner::TrainRow;

/// Which states a row's tokens are predicted and read from, in a padded batch.
pub(super) struct Layout {
    pub(super) batch: Batch,
    pub(super) targets: Vec<TokenTarget>,
}

impl Layout {
    pub(super) fn new(rows: &[&TrainRow], info: &ModelInfo) -> Result<Self, TrainError> {
        let sequences: Vec<&Sequence> = rows.iter().map(|r| &r.sequence).collect();
        Self::of(&sequences, rows, info)
    }

    /// The same places over the masked images.
    pub(super) fn masked(rows: &[&TrainRow], info: &ModelInfo) -> Result<Self, TrainError> {
        let sequences: Vec<Sequence> = rows.iter().map(|r| r.masked()).collect();
        Self::of(&sequences.iter().collect::<Vec<_>>(), rows, info)
    }

    fn of(sequences: &[&Sequence], rows: &[&TrainRow], info: &ModelInfo) -> Result<Self, TrainError> {
        let batch = Batch::new(sequences, info)?;
        let mut targets = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let start = index * batch.columns + batch.padding[index] + row.prompt_len;
            let response = &row.sequence.ids[row.prompt_len..];
            // The state one column before a token predicts it.
            targets.extend(
                response.iter().enumerate().map(|(t, id)| TokenTarget { slot: (start + t - 1) as u32, token: *id }),
            );
        }
        Ok(Self { batch, targets })
    }

    /// Image slots and state slots of every row. `offset` 0: the states that read the tokens; 1: those that predict them.
    pub(super) fn focus_rows(&self, rows: &[&TrainRow], offset: usize) -> Vec<FocusRow> {
        let columns = self.batch.columns;
        let mut out: Vec<FocusRow> = rows
            .iter()
            .enumerate()
            .map(|(index, row)| {
                let start = index * columns + self.batch.padding[index] + row.prompt_len - offset;
                FocusRow { image: Vec::new(), states: (start..start + row.response_len()).map(|s| s as u32).collect() }
            })
            .collect();
        for slot in &self.batch.image_slots {
            out[*slot as usize / columns].image.push(*slot);
        }
        out
    }
}
