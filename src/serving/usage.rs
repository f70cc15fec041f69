//! Usage of the engine: figures for monitoring, updated by the compute threads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::domain::engine::{EngineUsage, ModelUsage};

/// The running sums of one engine.
#[derive(Debug, Default)]
pub(super) struct Totals {
    requests: AtomicU64,
    prompt_tokens: AtomicU64,
    generated_tokens: AtomicU64,
    decode_steps: AtomicU64,
    queue_micros: AtomicU64,
    prefill_micros: AtomicU64,
    decode_micros: AtomicU64,
    /// Of steps, which prefill and decode at the same time.
    work_micros: AtomicU64,
}

impl Totals {
    /// Counts a request that left the queue, with the length of its prompt and its seconds of waiting.
    pub(super) fn taken(&self, prompt_tokens: usize, waited: f64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.prompt_tokens.fetch_add(prompt_tokens as u64, Ordering::Relaxed);
        self.queue_micros.fetch_add(micros(waited), Ordering::Relaxed);
    }

    /// Adds to the prefill time.
    pub(super) fn prefilled(&self, seconds: f64) {
        self.prefill_micros.fetch_add(micros(seconds), Ordering::Relaxed);
    }

    /// Counts decode steps.
    pub(super) fn decoded(&self, tokens: usize, steps: usize, seconds: f64) {
        self.generated_tokens.fetch_add(tokens as u64, Ordering::Relaxed);
        self.decode_steps.fetch_add(steps as u64, Ordering::Relaxed);
        self.decode_micros.fetch_add(micros(seconds), Ordering::Relaxed);
    }

    /// Adds the time of a step.
    pub(super) fn worked(&self, seconds: f64) {
        self.work_micros.fetch_add(micros(seconds), Ordering::Relaxed);
    }

    /// Throughput in tokens of prompts and answers per second of work; none before the first token.
    pub(super) fn pace(&self) -> Option<f64> {
        let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        let micros = read(&self.work_micros);
        (micros > 0).then(|| (read(&self.prompt_tokens) + read(&self.generated_tokens)) as f64 * 1e6 / micros as f64)
    }

    /// The totals, with the usage of models.
    pub(super) fn with(&self, models: Vec<ModelUsage>) -> EngineUsage {
        let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        let seconds = |sum: &AtomicU64| read(sum) as f64 / 1e6;
        EngineUsage {
            models,
            requests: read(&self.requests),
            prompt_tokens: read(&self.prompt_tokens),
            generated_tokens: read(&self.generated_tokens),
            decode_steps: read(&self.decode_steps),
            queue_seconds: seconds(&self.queue_micros),
            prefill_seconds: seconds(&self.prefill_micros),
            decode_seconds: seconds(&self.decode_micros),
        }
    }
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

/// Current usage of one model.
#[derive(Debug, Default)]
pub(super) struct Held {
    rows: AtomicUsize,
    kv_bytes: AtomicUsize,
    prompt_memory_bytes: AtomicUsize,
}

impl Held {
    /// Updates the figures between two steps.
    pub(super) fn set(&self, rows: usize, kv_bytes: usize, prompt_memory_bytes: usize) {
        self.rows.store(rows, Ordering::Relaxed);
        self.kv_bytes.store(kv_bytes, Ordering::Relaxed);
        self.prompt_memory_bytes.store(prompt_memory_bytes, Ordering::Relaxed);
    }

    /// Rows in progress.
    pub(super) fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// The figures, for a model with a queue.
    pub(super) fn usage(&self, model: &str, queued: usize) -> ModelUsage {
        ModelUsage {
            model: model.to_owned(),
            queued,
            rows: self.rows.load(Ordering::Relaxed),
            kv_bytes: self.kv_bytes.load(Ordering::Relaxed),
            prompt_memory_bytes: self.prompt_memory_bytes.load(Ordering::Relaxed),
        }
    }
}
