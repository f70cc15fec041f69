//! Sequences as one batch, and the positions of their tokens in it.

use std::ops::Range;
use std::sync::Arc;

use crate::model::focus::FocusRow;
use crate::model::logprob::TokenTarget;
use crate::model::{Batch, ImagePatches, ModelInfo, Sequence, Tree};

use super::error::TrainError;
use super::micro_batch::{Packing, share_prompt};
use super::train_sequence::TrainSequence;

/// The positions of a sequence's prompt and response in its batch.
#[derive(Debug, Clone)]
struct Span {
    prompt: Range<usize>,
    response: Range<usize>,
}

impl Span {
    /// The state that predicts response token `t`: the one before it, which is the prompt's last for the first token.
    fn predicting(&self, t: usize) -> u32 {
        (if t == 0 { self.prompt.end - 1 } else { self.response.start + t - 1 }) as u32
    }

    /// The state of response token `t` itself.
    fn reading(&self, t: usize) -> u32 {
        (self.response.start + t) as u32
    }
}

/// A batch, and which of its states belong to each sequence's tokens.
pub(super) struct Layout {
    pub(super) batch: Batch,
    pub(super) targets: Vec<TokenTarget>,
    spans: Vec<Span>,
}

impl Layout {
    pub(super) fn new(sequences: &[&TrainSequence], info: &ModelInfo, packing: Packing) -> Result<Self, TrainError> {
        let images: Vec<&[Arc<ImagePatches>]> =
            sequences.iter().map(|sequence| sequence.input.images.as_slice()).collect();
        Self::of(sequences, &images, info, packing)
    }

    /// The same positions over the masked images.
    pub(super) fn masked(sequences: &[&TrainSequence], info: &ModelInfo, packing: Packing) -> Result<Self, TrainError> {
        let images: Vec<&[Arc<ImagePatches>]> = sequences.iter().map(|sequence| sequence.masked_or_own()).collect();
        Self::of(sequences, &images, info, packing)
    }

    fn of(
        sequences: &[&TrainSequence],
        images: &[&[Arc<ImagePatches>]],
        info: &ModelInfo,
        packing: Packing,
    ) -> Result<Self, TrainError> {
        let (batch, spans) = match packing {
            Packing::Padded => padded(sequences, images, info)?,
            Packing::Shared | Packing::ByGroup => shared(sequences, images, info)?,
        };
        let of_sequence = |(sequence, span): (&&TrainSequence, &Span)| -> Vec<TokenTarget> {
            let response = sequence.input.ids[sequence.prompt_len..].iter().enumerate();
            response.map(|(t, id)| TokenTarget { slot: span.predicting(t), token: *id }).collect()
        };
        let targets = sequences.iter().zip(&spans).flat_map(of_sequence).collect();
        Ok(Self { batch, targets, spans })
    }

    /// Image slots and state slots of every sequence: the states of its tokens, or those that predict them.
    pub(super) fn focus_rows(&self, predicting: bool) -> Vec<FocusRow> {
        let slots = &self.batch.image_slots;
        let focus = |span: &Span| {
            let first = slots.partition_point(|slot| (*slot as usize) < span.prompt.start);
            let image = slots[first..].iter().copied().take_while(|slot| (*slot as usize) < span.prompt.end).collect();
            let state = |t| if predicting { span.predicting(t) } else { span.reading(t) };
            FocusRow { image, states: (0..span.response.len()).map(state).collect() }
        };
        self.spans.iter().map(focus).collect()
    }
}

fn padded(
    sequences: &[&TrainSequence],
    images: &[&[Arc<ImagePatches>]],
    info: &ModelInfo,
) -> Result<(Batch, Vec<Span>), TrainError> {
    let input = |(sequence, images): (&&TrainSequence, &&[Arc<ImagePatches>])| Sequence {
        ids: sequence.input.ids.clone(),
        images: images.to_vec(),
    };
    let inputs: Vec<Sequence> = sequences.iter().zip(images).map(input).collect();
    let batch = Batch::new(&inputs.iter().collect::<Vec<_>>(), info)?;
    let span = |(index, sequence): (usize, &&TrainSequence)| {
        let end = (index + 1) * batch.seq_len;
        let split = end - sequence.response_len();
        Span { prompt: split - sequence.prompt_len..split, response: split..end }
    };
    let spans = sequences.iter().enumerate().map(span).collect();
    Ok((batch, spans))
}

fn shared(
    sequences: &[&TrainSequence],
    images: &[&[Arc<ImagePatches>]],
    info: &ModelInfo,
) -> Result<(Batch, Vec<Span>), TrainError> {
    let responses: Vec<&[u32]> = sequences.iter().map(|sequence| &sequence.input.ids[sequence.prompt_len..]).collect();
    let (mut trees, mut spans, mut at) = (Vec::new(), Vec::with_capacity(sequences.len()), 0);
    let mut first = 0;
    while first < sequences.len() {
        let alike = |index: &usize| share_prompt(sequences[first], images[first], sequences[*index], images[*index]);
        let count = (first..sequences.len()).take_while(alike).count();
        let prompt = &sequences[first].input.ids[..sequences[first].prompt_len];
        let prefix = at..at + prompt.len();
        at = prefix.end;
        for response in &responses[first..first + count] {
            spans.push(Span { prompt: prefix.clone(), response: at..at + response.len() });
            at += response.len();
        }
        trees.push(Tree { prompt, images: images[first], responses: &responses[first..first + count] });
        first += count;
    }
    Ok((Batch::packed(&trees, info)?, spans))
}
