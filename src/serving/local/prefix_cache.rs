//! The prefix cache: recent prompts, whose prefill is reused by prompts with the same beginning.

use std::collections::VecDeque;
use std::sync::Arc;

use super::prefill::PrefilledPrompt;
use super::prompt_key::PromptKey;

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
