//! Reading prompts: in parts, so that a long one does not hold up the others, and never twice what was read before.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use candle_core::Tensor;

use crate::model::generate::Generation;
use crate::model::{Batch, Capture, KvCache, Sequence};
use crate::serving::ServingError;
use crate::serving::look::{AttentionFrame, ImageStates, Look, LookPlan, PromptColumns};
use crate::serving::model::ServedModel;
use crate::serving::prepare::PreparedPrompt;

/// A prompt that has been read: enough to begin any number of responses.
pub struct ReadPrompt {
    prompt: Arc<PreparedPrompt>,
    columns: PromptColumns,
    cache: KvCache,
    /// Final hidden states `[columns, hidden]`.
    hidden: Tensor,
    /// Attention of the last column, every layer.
    frame: AttentionFrame,
}

impl ReadPrompt {
    /// Its parts as key columns.
    pub fn columns(&self) -> &PromptColumns {
        &self.columns
    }

    /// Where the position looks that predicts the first token.
    pub fn look(&self, plan: &LookPlan) -> Look {
        self.frame.look((0, 0), 0, &self.columns, plan)
    }

    /// What its images look like inside the model.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn images(&self, plan: &LookPlan) -> Result<ImageStates, ServingError> {
        ImageStates::read(&self.hidden, 0, &self.columns, plan)
    }

    /// So many rows that go on behind it.
    ///
    /// # Errors
    /// A device without memory.
    pub fn generation<'m>(&self, served: &'m ServedModel, rows: usize) -> Result<Generation<'m>, ServingError> {
        let last = self.hidden.narrow(0, self.columns.len - 1, 1)?.contiguous()?;
        let mut generation = Generation::resume(served.model.as_ref(), self.cache.clone(), last);
        // Choosing rows copies: the prompt's own cache stays as it is.
        generation.select_rows(&vec![0; rows])?;
        Ok(generation)
    }

    fn bytes(&self) -> usize {
        self.cache.bytes() + self.hidden.elem_count() * self.hidden.dtype().size_in_bytes()
    }

    /// How many columns at the beginning are the same in `other`; an image counts as a whole.
    fn common(&self, other: &PreparedPrompt) -> usize {
        let pairs = self.prompt.rendered.ids.iter().zip(&other.rendered.ids);
        let mut common = pairs.take_while(|(a, b)| a == b).count();
        for (index, range) in PromptColumns::of(other).images.iter().enumerate() {
            let known = self.prompt.image_hashes.get(index) == other.image_hashes.get(index);
            if range.start < common && (!known || range.end > common) {
                common = range.start;
            }
        }
        common
    }
}

/// Prompts that were read lately, within a budget of bytes; the one unused for longest makes room.
pub struct PromptMemory {
    prompts: VecDeque<Rc<ReadPrompt>>,
    limit: usize,
}

impl PromptMemory {
    /// An empty memory.
    pub fn new(limit: usize) -> Self {
        Self { prompts: VecDeque::new(), limit }
    }

    /// The prompt that shares most columns with `prompt`, and how many.
    fn recall(&mut self, prompt: &PreparedPrompt) -> Option<(Rc<ReadPrompt>, usize)> {
        let shared = self.prompts.iter().map(|known| known.common(prompt)).enumerate();
        let (at, common) = shared.max_by_key(|(_, common)| *common).filter(|(_, common)| *common > 0)?;
        let known = self.prompts.remove(at)?;
        self.prompts.push_back(Rc::clone(&known));
        Some((known, common))
    }

    /// Keeps a prompt for those that begin like it.
    pub fn keep(&mut self, prompt: &Rc<ReadPrompt>) {
        if self.prompts.iter().any(|known| Rc::ptr_eq(known, prompt)) {
            return;
        }
        self.prompts.push_back(Rc::clone(prompt));
        let mut bytes = self.bytes();
        while bytes > self.limit
            && let Some(oldest) = self.prompts.pop_front()
        {
            bytes -= oldest.bytes();
        }
    }

    /// Bytes of keys and values that it keeps.
    pub fn bytes(&self) -> usize {
        self.prompts.iter().map(|known| known.bytes()).sum()
    }
}

/// A prompt on its way through the model.
pub struct Reading<'m> {
    served: &'m ServedModel,
    prompt: Arc<PreparedPrompt>,
    batch: Batch,
    features: Option<Tensor>,
    cache: KvCache,
    hidden: Vec<Tensor>,
    capture: Capture,
}

/// How a prompt begins: on its way, or known from before.
pub enum Start<'m> {
    /// Parts of it are to be read.
    Reading(Box<Reading<'m>>),
    /// Nothing is left to read.
    Known(Rc<ReadPrompt>),
}

impl<'m> Reading<'m> {
    /// Begins behind what `memory` knows of the prompt.
    ///
    /// # Errors
    /// A model that fails on the images.
    pub fn start(
        served: &'m ServedModel,
        prompt: &Arc<PreparedPrompt>,
        memory: Option<&mut PromptMemory>,
    ) -> Result<Start<'m>, ServingError> {
        let model = served.model.as_ref();
        let rendered = &prompt.rendered;
        let row = Sequence { ids: rendered.ids.clone(), images: rendered.images.clone() };
        let batch = Batch::new(&[&row], model.info())?;
        let mut reading = Self {
            served,
            prompt: Arc::clone(prompt),
            features: None,
            cache: model.new_cache(1, batch.columns)?,
            batch,
            hidden: Vec::new(),
            capture: Capture::none(),
        };
        if let Some((known, common)) = memory.and_then(|memory| memory.recall(prompt)) {
            if common == prompt.len() && common == known.prompt.len() {
                return Ok(Start::Known(known));
            }
            // The last column is read again: it must look at the whole prompt.
            let columns = common.min(prompt.len() - 1);
            if columns > 0 && !reading.splits_image(columns) {
                reading.go_on_behind(&known, columns)?;
            }
        }
        let slots = &reading.batch.image_slots;
        if slots.iter().any(|slot| *slot as usize >= reading.cache.len()) {
            reading.features = model.features(&reading.batch)?;
        }
        Ok(Start::Reading(Box::new(reading)))
    }

    fn splits_image(&self, column: usize) -> bool {
        PromptColumns::of(&self.prompt).images.iter().any(|range| range.start < column && column < range.end)
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

    /// Reads up to `columns` more; returns how many.
    ///
    /// # Errors
    /// A model that fails.
    pub fn advance(&mut self, columns: usize) -> Result<usize, ServingError> {
        let model = self.served.model.as_ref();
        let count = self.left().min(columns);
        let from = self.cache.len();
        let part = self.batch.part(from..from + count);
        if count == self.left() {
            self.capture = Capture::attention((0..model.info().layers).collect(), count - 1);
        }
        let features = if part.image_slots.is_empty() { None } else { self.features.as_ref() };
        let hidden = model.forward(&part, features, Some(&mut self.cache), &mut self.capture)?;
        self.hidden.push(hidden.squeeze(0)?);
        Ok(count)
    }

    /// The prompt, once nothing is left.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn finish(mut self) -> Result<ReadPrompt, ServingError> {
        Ok(ReadPrompt {
            columns: PromptColumns::of(&self.prompt),
            prompt: self.prompt,
            cache: self.cache,
            hidden: Tensor::cat(&self.hidden, 0)?,
            frame: AttentionFrame::take(&mut self.capture)?,
        })
    }
}
