//! The prefix cache: recent prompts, whose prefill is reused by prompts with the same beginning.

use std::collections::VecDeque;
use std::sync::Arc;

use super::prefill::PrefilledPrompt;
use super::prompt_key::PromptKey;

/// A cached prompt that begins as another one does.
pub struct KnownPrefix {
    /// The cached prompt.
    pub prompt: Arc<PrefilledPrompt>,
    /// Length of the common prefix. Not all of it can be reused where the model has recurrent layers, whose states are
    /// kept at few positions.
    pub common: usize,
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

    /// The prompt of whose prefill most can be reused for `key`.
    pub fn lookup(&mut self, key: &PromptKey) -> Option<KnownPrefix> {
        let measure = |known: &Arc<PrefilledPrompt>| {
            let common = known.key().common(key);
            (known.reusable(common), common)
        };
        let shared = self.prompts.iter().map(measure).enumerate();
        let (at, (_, common)) = shared.max_by_key(|(_, reach)| *reach).filter(|(_, (_, common))| *common > 0)?;
        let prompt = self.prompts.remove(at)?;
        self.prompts.push_back(Arc::clone(&prompt));
        Some(KnownPrefix { prompt, common })
    }

    /// Length of the longest cached prefix of a prompt that can be reused.
    pub fn longest_match(&self, key: &PromptKey) -> usize {
        self.prompts.iter().map(|known| known.reusable(known.key().common(key))).max().unwrap_or(0)
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
