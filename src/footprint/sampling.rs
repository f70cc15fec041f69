//! Sampling, in rollouts or in an evaluation.

use super::Plan;
use crate::config::rollout::{DECODED_ROWS, EVALUATED_RESPONSES};
use crate::domain::spec::JobSpec;
use crate::model::footprint::{PassShape, SamplingMemory, SamplingShape};

/// Prompts that an evaluation of the job has in memory.
pub(super) fn evaluation_prompts(spec: &JobSpec) -> u64 {
    spec.eval_rows.min((EVALUATED_RESPONSES / spec.eval.samples.max(1)).max(1))
}

/// The larger of rollout and evaluation, in all threads, where they may use `room` bytes: as many rows at a time as fit
/// into it, but at least one group in each thread.
pub(super) fn largest(plan: &Plan<'_>, room: Option<usize>) -> SamplingMemory {
    let spec = plan.spec;
    let evaluation = of(plan, evaluation_prompts(spec) as usize, spec.eval.samples as usize, room);
    if !spec.method.is_reinforcement() {
        return evaluation;
    }
    let rollout = of(plan, spec.batch.prompts_per_step as usize, plan.group_size(), room);
    if rollout.bytes() > evaluation.bytes() { rollout } else { evaluation }
}

fn of(plan: &Plan<'_>, prompts: usize, group: usize, room: Option<usize>) -> SamplingMemory {
    let (model, row, threads) = (plan.model, plan.row, plan.graphs());
    if prompts == 0 {
        return SamplingMemory::default();
    }
    let group = group.max(1);
    let prompt =
        PassShape { rows: 1, seq_len: row.prompt_tokens, images: row.images.clone(), image_slots: row.image_tokens };
    let share = prompts.div_ceil(threads).max(1);
    let shape = SamplingShape { prompt, group, response: row.response_tokens, prompts: share };
    let each = room.map_or(usize::MAX, |room| room / prompts.min(threads).max(1));
    let chunk = model.prompts_within(plan.arithmetic, DECODED_ROWS / group, &shape, each);
    let running = prompts.div_ceil(chunk).min(threads);
    let one = model.sampling(plan.arithmetic, chunk, &shape);
    SamplingMemory { cache: running * one.cache, reading: running * one.reading, logits: running * one.logits }
}
