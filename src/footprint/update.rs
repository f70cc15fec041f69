//! The two passes over a mini-batch.

use super::{Plan, RowShape, WIDE};
use crate::model::footprint::{ActivationMemory, PassShape, VALUE};
use crate::model::logprob::LOGITS_AT_ONCE;

/// Buffers of the size of the logits that the output head needs at a time in the update: logits, log-softmax and its
/// steps, the derivative, and the gradient that the backward accumulates.
const LOGIT_PLANES: u64 = 6;
/// The same without a gradient.
const SCORE_PLANES: u64 = 4;
/// Copies of the embedding's gradient at the end of a backward, in addition to the one that is kept.
const EMBEDDING_COPIES: usize = 2;

/// Bytes of an update and of the pass under the old policy.
#[derive(Default)]
pub(super) struct Update {
    /// Gradients in memory, in sets of all trained parameters.
    pub(super) gradient_sets: u64,
    /// Gradients of one block, where they are added up block by block.
    pub(super) gradients_of_block: u64,
    pub(super) graph: u64,
    pub(super) backward: u64,
    pub(super) logits: u64,
    /// The pass under the old policy, logits included.
    pub(super) scoring: u64,
    /// The same without logits.
    pub(super) reading: u64,
}

impl Update {
    pub(super) fn of(plan: &Plan<'_>) -> Self {
        let (spec, row, model) = (plan.spec, plan.row, plan.model);
        // A masked view in the loss adds a second graph; each has half of the tokens.
        let view = plan.objective.as_ref().and_then(|objective| objective.needs().masked_view);
        let graphs = if view.is_some_and(|view| view.in_loss) { 2 } else { 1 };
        let tokens = spec.batch.microbatch_tokens as usize / graphs;
        let batch = MicroBatch::largest(plan, tokens);
        let (batches, running, pass) = (batch.batches, batch.running(plan), batch.pass(row));
        let memory = activation_memory(plan, &pass);
        let graph = if spec.train.gradient_checkpointing { memory.tape + memory.block } else { memory.graph };
        let embedding = if spec.train.lora.is_none() { EMBEDDING_COPIES * VALUE * model.parameters.largest } else { 0 };
        let all = |bytes: usize| (running * bytes) as u64;
        let plane = held_logits(batch.responses * row.response_tokens, model.info.vocab_size);
        let reading = all(model.passes.reading(plan.arithmetic, &pass));
        let comparing = if view.is_some_and(|view| !view.in_loss) { comparing(plan) } else { 0 };
        // On a GPU gradients are added to the sum as they come: block by block where blocks are computed again.
        let block_by_block = !plan.site.cpu && spec.train.gradient_checkpointing;
        let sets = if block_by_block { 1 } else { running + usize::from(batches > running) };
        let blocks = model.info.layers.max(1) as u64;
        Self {
            // Every thread has the gradients of its micro-batch; the sum of earlier ones is one more set.
            gradient_sets: sets as u64,
            gradients_of_block: if block_by_block { plan.trained * WIDE / blocks } else { 0 },
            graph: all(graphs * graph),
            backward: all(memory.backward.max(embedding)),
            logits: running as u64 * LOGIT_PLANES * plane,
            scoring: (reading + running as u64 * SCORE_PLANES * plane).max(comparing),
            reading,
        }
    }
}

/// The passes over images and masked images that measure visual dependency: two at a time, with half of the tokens.
pub(super) fn comparing(plan: &Plan<'_>) -> u64 {
    let batch = MicroBatch::largest(plan, plan.spec.batch.microbatch_tokens as usize / 2);
    let plane = held_logits(batch.responses * plan.row.response_tokens, plan.model.info.vocab_size);
    let reading = plan.model.passes.reading(plan.arithmetic, &batch.pass(plan.row)) as u64;
    2 * batch.running(plan) as u64 * (reading + SCORE_PLANES * plane)
}

/// The largest micro-batch of a mini-batch, and how many there are.
struct MicroBatch {
    /// Prompts, and responses that share them.
    prompts: usize,
    responses: usize,
    batches: usize,
}

impl MicroBatch {
    /// Responses share their prompt as a prefix; there is at least one micro-batch for each thread.
    fn largest(plan: &Plan<'_>, tokens: usize) -> Self {
        let (group, prompts, threads) = (plan.group_size(), plan.spec.batch.minibatch_prompts as usize, plan.graphs());
        let (prompt, response) = (plan.row.prompt_tokens, plan.row.response_tokens.max(1));
        let fitting = (tokens.saturating_sub(prompt) / response).max(1);
        // A group that is split repeats its prompt in every part.
        let part = group.div_ceil(threads.div_ceil(prompts.max(1))).min(fitting);
        let parts = prompts * group.div_ceil(part);
        let total = parts * prompt + prompts * group * response;
        let batches = total.div_ceil(tokens.max(1)).next_multiple_of(threads).min(parts).max(1);
        let parts_each = parts.div_ceil(batches);
        Self { prompts: parts_each, responses: parts_each * part, batches }
    }

    /// Micro-batches that run at a time.
    fn running(&self, plan: &Plan<'_>) -> usize {
        self.batches.min(plan.graphs())
    }

    /// A pass over it.
    fn pass(&self, row: &RowShape) -> PassShape {
        PassShape {
            rows: 1,
            seq_len: self.prompts * row.prompt_tokens + self.responses * row.response_tokens,
            images: row.images.repeat(self.prompts),
            image_slots: self.prompts * row.image_tokens,
        }
    }
}

/// Activation memory of training, including that of adapters.
fn activation_memory(plan: &Plan<'_>, pass: &PassShape) -> ActivationMemory {
    let passes = &plan.model.passes;
    let mut memory = passes.training(plan.arithmetic, pass, plan.trains_vision());
    let blocks = plan.model.info.layers.max(1);
    let of_layer = |layer: &&_| plan.arithmetic.adapter(passes.rows_of(layer, pass), plan.rank, layer.out);
    let adapters: usize = plan.adapted.iter().map(of_layer).sum();
    memory.graph += adapters;
    memory.block += adapters / blocks;
    memory
}

/// Bytes of the logits of the positions that are computed at a time.
fn held_logits(positions: usize, vocabulary: usize) -> u64 {
    ((positions * vocabulary).min(LOGITS_AT_ONCE.max(vocabulary)) * VALUE) as u64
}
