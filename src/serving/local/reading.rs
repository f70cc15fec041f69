//! Reading prompts: in parts, so that a long one does not hold up the others, and never twice what was read before.

use std::sync::Arc;

use candle_core::Tensor;

use super::memory::PromptKey;
use crate::model::generate::Generation;
use crate::model::{Batch, Capture, KvCache, Sequence};
use crate::serving::ServingError;
use crate::serving::look::{AttentionFrame, ImageStates, Look, LookPlan, PromptColumns};
use crate::serving::model::ServedModel;
use crate::serving::prepare::PreparedPrompt;

/// A prompt that has been read: enough to begin any number of responses.
pub struct ReadPrompt {
    key: Arc<PromptKey>,
    cache: KvCache,
    /// Final hidden states `[columns, hidden]`.
    hidden: Tensor,
    /// Attention of the last column, every layer.
    frame: AttentionFrame,
}

impl ReadPrompt {
    /// What tells it apart from others.
    pub fn key(&self) -> &PromptKey {
        &self.key
    }

    /// Its parts as key columns.
    pub fn columns(&self) -> &PromptColumns {
        self.key.columns()
    }

    /// Where the position looks that predicts the first token.
    pub fn look(&self, plan: &LookPlan) -> Look {
        self.frame.look((0, 0), 0, self.columns(), plan)
    }

    /// What its images look like inside the model.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn images(&self, plan: &LookPlan) -> Result<ImageStates, ServingError> {
        ImageStates::read(&self.hidden, 0, self.columns(), plan)
    }

    /// So many rows that go on behind it.
    ///
    /// # Errors
    /// A device without memory.
    pub fn generation<'m>(&self, served: &'m ServedModel, rows: usize) -> Result<Generation<'m>, ServingError> {
        let last = self.hidden.narrow(0, self.key.len() - 1, 1)?.contiguous()?;
        let mut generation = Generation::resume(served.model.as_ref(), self.cache.clone(), last);
        // Choosing rows copies: the prompt's own cache stays as it is.
        generation.select_rows(&vec![0; rows])?;
        Ok(generation)
    }

    /// Bytes of its keys, values and states.
    pub fn bytes(&self) -> usize {
        self.cache.bytes() + self.hidden.elem_count() * self.hidden.dtype().size_in_bytes()
    }
}

/// A prompt on its way through the model.
pub struct Reading<'m> {
    served: &'m ServedModel,
    key: Arc<PromptKey>,
    batch: Batch,
    features: Option<Tensor>,
    cache: KvCache,
    hidden: Vec<Tensor>,
    capture: Capture,
}

/// Reads whole prompts as one batch, from their beginning: most of what reading a short prompt takes is the same for several.
///
/// # Errors
/// A model that fails.
pub fn read_together(
    served: &ServedModel,
    prompts: &[(&PreparedPrompt, &Arc<PromptKey>)],
) -> Result<Vec<ReadPrompt>, ServingError> {
    let model = served.model.as_ref();
    let rows: Vec<Sequence> = prompts.iter().map(|(prompt, _)| sequence(prompt)).collect();
    let batch = Batch::new(&rows.iter().collect::<Vec<_>>(), model.info())?;
    let features = model.features(&batch)?;
    let mut cache = model.new_cache(batch.rows, batch.columns)?;
    let mut capture = Capture::attention((0..model.info().layers).collect(), batch.columns - 1);
    let hidden = model.forward(&batch, features.as_ref(), Some(&mut cache), &mut capture)?;
    let frame = AttentionFrame::take(&mut capture)?;
    let mut read = Vec::with_capacity(prompts.len());
    for (row, (_, key)) in prompts.iter().enumerate() {
        let padding = batch.padding[row];
        read.push(ReadPrompt {
            key: Arc::clone(key),
            cache: cache.row(row)?,
            // A copy: a view would keep the states of all.
            hidden: hidden.get(row)?.narrow(0, padding, key.len())?.copy()?,
            frame: frame.row(row, padding),
        });
    }
    Ok(read)
}

fn sequence(prompt: &PreparedPrompt) -> Sequence {
    Sequence { ids: prompt.rendered.ids.clone(), images: prompt.rendered.images.clone() }
}

impl<'m> Reading<'m> {
    /// Begins behind the columns that are `known` of the prompt: another one, and how many it shares with this one.
    ///
    /// # Errors
    /// A prompt that the model cannot take.
    pub fn start(
        served: &'m ServedModel,
        prompt: &PreparedPrompt,
        key: &Arc<PromptKey>,
        known: Option<(Arc<ReadPrompt>, usize)>,
    ) -> Result<Self, ServingError> {
        let model = served.model.as_ref();
        let batch = Batch::new(&[&sequence(prompt)], model.info())?;
        let mut reading = Self {
            served,
            key: Arc::clone(key),
            features: None,
            cache: model.new_cache(1, batch.columns)?,
            batch,
            hidden: Vec::new(),
            capture: Capture::none(),
        };
        if let Some((known, common)) = known {
            // The last column is read again: it must look at the whole prompt.
            let columns = common.min(key.len() - 1);
            if columns > 0 && !key.splits_image(columns) {
                reading.go_on_behind(&known, columns)?;
            }
        }
        Ok(reading)
    }

    fn go_on_behind(&mut self, known: &ReadPrompt, columns: usize) -> Result<(), ServingError> {
        let next = known.cache.next_position()[0];
        self.cache = known.cache.prefix(columns, next, self.batch.columns - columns)?;
        self.hidden.push(known.hidden.narrow(0, 0, columns)?);
        Ok(())
    }

    /// Columns that are not read yet.
    pub fn left(&self) -> usize {
        self.batch.columns - self.cache.len()
    }

    /// Reads up to `columns` more.
    ///
    /// # Errors
    /// A model that fails.
    pub fn advance(&mut self, columns: usize) -> Result<(), ServingError> {
        let model = self.served.model.as_ref();
        let count = self.left().min(columns);
        let from = self.cache.len();
        let part = self.batch.part(from..from + count);
        if count == self.left() {
            self.capture = Capture::attention((0..model.info().layers).collect(), count - 1);
        }
        if !part.image_slots.is_empty() && self.features.is_none() {
            self.features = model.features(&self.batch)?;
        }
        let features = if part.image_slots.is_empty() { None } else { self.features.as_ref() };
        let hidden = model.forward(&part, features, Some(&mut self.cache), &mut self.capture)?;
        self.hidden.push(hidden.squeeze(0)?);
        Ok(())
    }

    /// The prompt, once nothing is left.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn finish(mut self) -> Result<ReadPrompt, ServingError> {
        Ok(ReadPrompt {
            key: self.key,
            cache: self.cache,
            hidden: Tensor::cat(&self.hidden, 0)?,
            frame: AttentionFrame::take(&mut self.capture)?,
        })
    }
}
