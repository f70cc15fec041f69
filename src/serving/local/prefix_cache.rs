//! The prefix cache: recent prompts, whose prefill is reused by prompts with the same beginning.

use std::collections::VecDeque;
use std::sync::Arc;

use super::prefill::PrefilledPrompt;
use crate::serving::attention_capture::PromptPositions;
use crate::serving::prepare::{ImageHash, PreparedPrompt};

/// Identifies a prompt by its tokens and the hashes of its images.
pub struct PromptKey {
    ids: Vec<u32>,
    image_hashes: Vec<ImageHash>,
    positions: PromptPositions,
}

impl PromptKey {
    /// The key of a prompt.
    pub fn of(prompt: &PreparedPrompt) -> Self {
        Self {
            ids: prompt.rendered.ids.clone(),
            image_hashes: prompt.image_hashes.clone(),
            positions: PromptPositions::of(prompt),
        }
    }

    /// Tokens of the prompt.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// The positions of its images.
    pub fn positions(&self) -> &PromptPositions {
        &self.positions
    }

    /// Length of the common prefix with `other`; an image is never split.
    pub fn common(&self, other: &Self) -> usize {
        let mut common = self.ids.iter().zip(&other.ids).take_while(|(a, b)| a == b).count();
        for (index, range) in other.positions.images.iter().enumerate() {
            let known = self.image_hashes.get(index) == other.image_hashes.get(index);
            if range.start < common && (!known || range.end > common) {
                common = range.start;
            }
        }
        common
    }

    /// Is `position` inside an image?
    pub fn splits_image(&self, position: usize) -> bool {
        self.positions.images.iter().any(|range| range.start < position && position < range.end)
    }
}

/// Prefilled prompts within a budget of bytes; the least recently used one is evicted first.
pub struct PrefixCache {
    prompts: VecDeque<Arc<PrefilledPrompt>>,
    bytes: usize,
    limit: usize,
}

impl PrefixCache {
    /// An empty cache.
    pub fn new(limit: usize) -> Self {
        Self { prompts: VecDeque::new(), bytes: 0, limit }
    }

    /// The prompt with the longest common prefix with `key`, and its length.
    pub fn lookup(&mut self, key: &PromptKey) -> Option<(Arc<PrefilledPrompt>, usize)> {
        let shared = self.prompts.iter().map(|known| known.key().common(key)).enumerate();
        let (at, common) = shared.max_by_key(|(_, common)| *common).filter(|(_, common)| *common > 0)?;
        let known = self.prompts.remove(at)?;
        self.prompts.push_back(Arc::clone(&known));
        Some((known, common))
    }

    /// Length of the longest cached prefix of a prompt.
    pub fn longest_match(&self, key: &PromptKey) -> usize {
        self.prompts.iter().map(|known| known.key().common(key)).max().unwrap_or(0)
    }

    /// Adds a prompt.
    pub fn insert(&mut self, prompt: &Arc<PrefilledPrompt>) {
        // A prompt that came from the cache is already in it.
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

    /// Bytes of cached keys, values and states.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
