//! Sampling, in rollouts or in an evaluation.

use super::Plan;
use crate::config::rollout::{DECODED_ROWS, EVALUATED_RESPONSES};
use crate::domain::spec::JobSpec;
use crate::model::footprint::{PassShape, VALUE};

/// Size of a cache and its copy while finished rows are removed from it, in percent of the cache.
const COMPACTION_PERCENT: u64 = 175;

/// Prompts that an evaluation of the job has in memory.
pub(super) fn evaluation_prompts(spec: &JobSpec) -> u64 {
    spec.eval_rows.min((EVALUATED_RESPONSES / spec.eval.samples.max(1)).max(1))
}

/// Bytes of sampling.
#[derive(Clone, Copy, Default)]
pub(super) struct Sampling {
    pub(super) cache: u64,
    pub(super) reading: u64,
    pub(super) logits: u64,
}

impl Sampling {
    pub(super) fn bytes(&self) -> u64 {
        self.cache * COMPACTION_PERCENT / 100 + self.logits + self.reading
    }

    /// The larger of rollout and evaluation.
    pub(super) fn largest(plan: &Plan<'_>) -> Self {
        let spec = plan.spec;
        let evaluation = Self::of(plan, evaluation_prompts(spec) as usize, spec.eval.samples as usize);
        if !spec.method.is_reinforcement() {
            return evaluation;
        }
        let rollout = Self::of(plan, spec.batch.prompts_per_step as usize, plan.group_size());
        if rollout.bytes() > evaluation.bytes() { rollout } else { evaluation }
    }

    fn of(plan: &Plan<'_>, prompts: usize, group: usize) -> Self {
        let (model, row, threads) = (plan.model, plan.row, plan.site.threads);
        if prompts == 0 {
            return Self::default();
        }
        let group = group.max(1);
        let chunk = (DECODED_ROWS / group).clamp(1, prompts.div_ceil(threads).max(1));
        let running = prompts.div_ceil(chunk).min(threads);
        let rows = chunk * group;
        let prefill = PassShape {
            rows: chunk,
            seq_len: row.prompt_tokens,
            images: row.images.repeat(chunk),
            image_slots: chunk * row.image_tokens,
        };
        // Rows that join a running batch are right-aligned: until earlier rows have left, it is longer than the new
        // ones.
        let waiting = prompts.div_ceil(threads) > chunk;
        let positions = (row.tokens() + 1) * if waiting { 4 } else { 3 } / 3;
        let cached = rows * (positions * model.passes.cached_per_token() + model.passes.cached_per_row());
        Self {
            cache: (running * cached) as u64,
            reading: (running * model.passes.reading(&prefill)) as u64,
            // Logits of the model, and their copy for the sampler.
            logits: (running * 2 * rows * model.info.vocab_size * VALUE) as u64,
        }
    }
}
