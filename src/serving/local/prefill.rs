//! Prefill: in chunks, so that a long prompt does not hold up the others, and continuing cached prefixes.

use std::sync::Arc;

use candle_core::Tensor;

use super::prefix_cache::KnownPrefix;
use super::prompt_key::PromptKey;
use crate::model::generate::Generation;
use crate::model::{Batch, Capture, KvCache, Sequence};
use crate::serving::ServingError;
use crate::serving::attention_capture::{AttentionCapture, AttentionFrame, CapturePlan, ImageStates, PromptPositions};
use crate::serving::model::ServedModel;
use crate::serving::prepare::PreparedPrompt;

/// A prefilled prompt: everything needed to start any number of responses.
pub struct PrefilledPrompt {
    key: Arc<PromptKey>,
    cache: KvCache,
    /// Final hidden states `[seq_len, hidden]`.
    hidden: Tensor,
    /// Attention of the last position, every layer.
    frame: AttentionFrame,
}

impl PrefilledPrompt {
    /// Its key in the prefix cache.
    pub fn key(&self) -> &PromptKey {
        &self.key
    }

    /// The positions of its images.
    pub fn positions(&self) -> &PromptPositions {
        self.key.positions()
    }

    /// Attention of the position that predicts the first token.
    pub fn capture(&self, plan: &CapturePlan) -> AttentionCapture {
        self.frame.capture((0, 0), 0, self.positions(), plan)
    }

    /// Hidden states of its image tokens, where maps of similarity are asked for.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn images(&self, plan: &CapturePlan) -> Result<Option<ImageStates>, ServingError> {
        let read = || ImageStates::read(&self.hidden, 0, self.positions(), plan);
        plan.maps_of_similarity().then(read).transpose()
    }

    /// A generation of `rows` rows that continue it, which tells what they look at.
    ///
    /// # Errors
    /// A device that is out of memory.
    pub fn generation<'m>(&self, served: &'m ServedModel, rows: usize) -> Result<Generation<'m>, ServingError> {
        let last = self.hidden.narrow(0, self.key.len() - 1, 1)?.contiguous()?;
        let mut generation = Generation::resume(served.model.as_ref(), self.cache.clone(), last);
        let images: Vec<u32> =
            self.positions().images.iter().flat_map(|image| image.start as u32..image.end as u32).collect();
        // [1, seq_len, hidden]
        generation.keep_prototypes_of(&self.hidden.unsqueeze(0)?, &[&images])?;
        // Selecting rows copies, so the prompt's own cache is not changed.
        generation.select_rows(&vec![0; rows])?;
        Ok(generation)
    }

    /// Of its first `common` positions, how many another prompt can continue.
    pub fn reusable(&self, common: usize) -> usize {
        self.cache.reusable(common)
    }

    /// Bytes of its keys, values and states.
    pub fn bytes(&self) -> usize {
        self.cache.bytes() + self.hidden.elem_count() * self.hidden.dtype().size_in_bytes()
    }
}

/// The chunked prefill of a prompt.
pub struct Prefill<'m> {
    served: &'m ServedModel,
    key: Arc<PromptKey>,
    batch: Batch,
    features: Option<Tensor>,
    cache: KvCache,
    hidden: Vec<Tensor>,
    capture: Capture,
    /// Where recurrent states are copied: at the end of a prefix that this prompt shares with an earlier one, so that
    /// the next one with that prefix continues there.
    fork: Option<usize>,
}

/// Prefills whole prompts as one batch, from their beginning: for short prompts, a batch takes hardly longer than one
/// prompt.
///
/// # Errors
/// A model that fails.
pub fn prefill_together(
    served: &ServedModel,
    prompts: &[(&PreparedPrompt, &Arc<PromptKey>)],
) -> Result<Vec<PrefilledPrompt>, ServingError> {
    let model = served.model.as_ref();
    let rows: Vec<Sequence> = prompts.iter().map(|(prompt, _)| sequence(prompt)).collect();
    let batch = Batch::new(&rows.iter().collect::<Vec<_>>(), model.info())?;
    let features = model.features(&batch)?;
    let mut cache = model.new_cache(batch.rows, batch.seq_len)?;
    cache.mark_prompts(&batch)?;
    let mut capture = Capture::attention(model.info().attention_layers.clone(), batch.seq_len - 1);
    let hidden = model.forward(&batch, features.as_ref(), Some(&mut cache), &mut capture)?;
    let frame = AttentionFrame::take(&mut capture)?;
    let mut read = Vec::with_capacity(prompts.len());
    for (row, (_, key)) in prompts.iter().enumerate() {
        let padding = batch.padding[row];
        read.push(PrefilledPrompt {
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

impl<'m> Prefill<'m> {
    /// Starts after a cached prefix, if there is one that can be continued.
    ///
    /// # Errors
    /// A prompt that the model cannot take.
    pub fn start(
        served: &'m ServedModel,
        prompt: &PreparedPrompt,
        key: &Arc<PromptKey>,
        known: Option<KnownPrefix>,
    ) -> Result<Self, ServingError> {
        let model = served.model.as_ref();
        let batch = Batch::new(&[&sequence(prompt)], model.info())?;
        let mut prefill = Self {
            served,
            key: Arc::clone(key),
            features: None,
            cache: model.new_cache(1, batch.seq_len)?,
            batch,
            hidden: Vec::new(),
            capture: Capture::none(),
            fork: None,
        };
        if let Some(KnownPrefix { prompt, common }) = known {
            // The last position is always computed: its attention to the whole prompt is needed.
            let count = prompt.reusable(common.min(key.len() - 1));
            if count > 0 && !key.splits_image(count) {
                prefill.continue_from(&prompt, count)?;
            }
            prefill.fork =
                Some(common).filter(|fork| prefill.cache.is_recurrent() && (count + 1..key.len()).contains(fork));
        }
        prefill.cache.mark_prompts(&prefill.batch)?;
        Ok(prefill)
    }

    fn continue_from(&mut self, known: &PrefilledPrompt, count: usize) -> Result<(), ServingError> {
        let next = known.cache.next_position()[0];
        self.cache = known.cache.prefix(count, next, self.batch.seq_len - count)?;
        self.hidden.push(known.hidden.narrow(0, 0, count)?);
        Ok(())
    }

    /// Positions that are left.
    pub fn left(&self) -> usize {
        self.batch.seq_len - self.cache.len()
    }

    /// Runs a chunk of up to `count` positions, in two parts where states have to be copied in between.
    ///
    /// # Errors
    /// A model that fails.
    pub fn advance(&mut self, count: usize) -> Result<(), ServingError> {
        let end = self.cache.len() + count.min(self.left());
        while self.cache.len() < end {
            let fork = self.fork.filter(|fork| (self.cache.len() + 1..end).contains(fork));
            self.read(fork.unwrap_or(end) - self.cache.len())?;
            if self.fork == Some(self.cache.len()) {
                self.cache.keep_states()?;
            }
        }
        Ok(())
    }

    fn read(&mut self, count: usize) -> Result<(), ServingError> {
        let model = self.served.model.as_ref();
        let from = self.cache.len();
        let part = self.batch.part(from..from + count);
        if count == self.left() {
            self.capture = Capture::attention(model.info().attention_layers.clone(), count - 1);
        }
        if !part.image_slots.is_empty() && self.features.is_none() {
            self.features = model.features(&self.batch)?;
        }
        let features = if part.image_slots.is_empty() { None } else { self.features.as_ref() };
        let hidden = model.forward(&part, features, Some(&mut self.cache), &mut self.capture)?;
        self.hidden.push(hidden.squeeze(0)?);
        Ok(())
    }

    /// The prompt, once it is complete.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn finish(mut self) -> Result<PrefilledPrompt, ServingError> {
        Ok(PrefilledPrompt {
            key: self.key,
            cache: self.cache,
            hidden: Tensor::cat(&self.hidden, 0)?,
            frame: AttentionFrame::take(&mut self.capture)?,
        })
    }
}
