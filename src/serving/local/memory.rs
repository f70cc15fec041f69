//! Prompts that were read lately: those that begin like them need not be read from the beginning.

use std::collections::VecDeque;
use std::sync::Arc;

use super::reading::ReadPrompt;
use crate::serving::look::PromptColumns;
use crate::serving::prepare::{ImageHash, PreparedPrompt};

/// What tells prompts apart, without their pictures.
pub struct PromptKey {
    ids: Vec<u32>,
    image_hashes: Vec<ImageHash>,
    columns: PromptColumns,
}

impl PromptKey {
    /// The key of a prompt.
    pub fn of(prompt: &PreparedPrompt) -> Self {
        Self {
            ids: prompt.rendered.ids.clone(),
            image_hashes: prompt.image_hashes.clone(),
            columns: PromptColumns::of(prompt),
        }
    }

    /// Tokens of the prompt.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Its parts as key columns.
    pub fn columns(&self) -> &PromptColumns {
        &self.columns
    }

    /// How many columns at the beginning are the same in `other`; an image counts as a whole.
    pub fn common(&self, other: &Self) -> usize {
        let mut common = self.ids.iter().zip(&other.ids).take_while(|(a, b)| a == b).count();
        for (index, range) in other.columns.images.iter().enumerate() {
            let known = self.image_hashes.get(index) == other.image_hashes.get(index);
            if range.start < common && (!known || range.end > common) {
                common = range.start;
            }
        }
        common
    }

    /// Does `column` lie inside of an image?
    pub fn splits_image(&self, column: usize) -> bool {
        self.columns.images.iter().any(|range| range.start < column && column < range.end)
    }
}

/// Prompts that were read lately, within a budget of bytes; the one unused for longest makes room.
pub struct PromptMemory {
    prompts: VecDeque<Arc<ReadPrompt>>,
    bytes: usize,
    limit: usize,
}

impl PromptMemory {
    /// An empty memory.
    pub fn new(limit: usize) -> Self {
        Self { prompts: VecDeque::new(), bytes: 0, limit }
    }

    /// The prompt that shares most columns with `key`, and how many.
    pub fn recall(&mut self, key: &PromptKey) -> Option<(Arc<ReadPrompt>, usize)> {
        let shared = self.prompts.iter().map(|known| known.key().common(key)).enumerate();
        let (at, common) = shared.max_by_key(|(_, common)| *common).filter(|(_, common)| *common > 0)?;
        let known = self.prompts.remove(at)?;
        self.prompts.push_back(Arc::clone(&known));
        Some((known, common))
    }

    /// How many columns of a prompt it knows.
    pub fn knows(&self, key: &PromptKey) -> usize {
        self.prompts.iter().map(|known| known.key().common(key)).max().unwrap_or(0)
    }

    /// Keeps a prompt for those that begin like it.
    pub fn keep(&mut self, prompt: &Arc<ReadPrompt>) {
        // One that was recalled is here already.
        if self.prompts.iter().any(|known| Arc::ptr_eq(known, prompt)) {
            return;
        }
        self.prompts.push_back(Arc::clone(prompt));
        self.bytes += prompt.bytes();
        while self.bytes > self.limit
            && let Some(oldest) = self.prompts.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
    }

    /// Bytes of keys, values and states that it keeps.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
