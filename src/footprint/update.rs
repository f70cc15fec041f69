//! The two passes over a mini-batch.

use super::Plan;
use crate::domain::spec::Method;
use crate::model::footprint::{Arithmetic, Kept, PassShape, VALUE};
use crate::model::logprob::LOGITS_AT_ONCE;

/// Planes of logits that the output head holds at a time in the update: logits, their log-softmax and its steps, the
/// derivative, and the gradient that the backward sums up.
const LOGIT_PLANES: u64 = 6;
/// The same without a gradient.
const SCORE_PLANES: u64 = 4;
/// Copies of the embedding's gradient at the end of a backward, beside the one that is kept.
const EMBEDDING_COPIES: usize = 2;

/// Bytes of an update and of the pass under the old policy.
#[derive(Default)]
pub(super) struct Update {
    /// Gradients held at a time, in sets of all trained parameters.
    pub(super) gradient_sets: u64,
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
        let group = plan.group_size();
        let rows = spec.batch.minibatch_prompts as usize * group;
        // A masked view in the loss is a second graph beside the first; each has half of the tokens.
        let graphs = if matches!(spec.method, Method::Papo(_)) { 2 } else { 1 };
        let per_batch = (spec.batch.microbatch_tokens as usize / graphs / row.tokens()).clamp(1, rows);
        let batches = rows.div_ceil(per_batch);
        let running = batches.min(plan.site.threads);
        let prompts = per_batch.div_ceil(group);
        let pass = PassShape {
            rows: per_batch,
            columns: row.tokens(),
            images: row.images.repeat(prompts),
            image_slots: per_batch * row.image_tokens,
        };
        let kept = kept(plan, &pass);
        let graph = if spec.train.gradient_checkpointing { kept.tape + kept.block } else { kept.graph };
        let embedding = if spec.train.lora.is_none() { EMBEDDING_COPIES * VALUE * model.parameters.largest } else { 0 };
        let all = |bytes: usize| (running * bytes) as u64;
        let plane = held_logits(per_batch * row.response_tokens, model.info.vocab_size);
        let reading = all(model.passes.reading(&pass));
        Self {
            // Every thread holds the gradients of its micro-batch; the sum of the waves before is one more set.
            gradient_sets: (running + usize::from(batches > running)) as u64,
            graph: all(graphs * graph),
            backward: all(kept.backward.max(embedding)),
            logits: running as u64 * LOGIT_PLANES * plane,
            scoring: reading + running as u64 * SCORE_PLANES * plane,
            reading,
        }
    }
}

/// What training keeps, that of adapters included.
fn kept(plan: &Plan<'_>, pass: &PassShape) -> Kept {
    let passes = &plan.model.passes;
    let mut kept = passes.training(plan.arithmetic, pass, plan.trains_vision());
    let blocks = plan.model.info.layers.max(1);
    let of_layer = |layer: &&_| Arithmetic::adapter(passes.rows_of(layer, pass), plan.rank, layer.out);
    let adapters: usize = plan.adapted.iter().map(of_layer).sum();
    kept.graph += adapters;
    kept.block += adapters / blocks;
    kept
}

/// Bytes of the logits of the positions that are held at a time.
fn held_logits(positions: usize, vocabulary: usize) -> u64 {
    ((positions * vocabulary).min(LOGITS_AT_ONCE.max(vocabulary)) * VALUE) as u64
}
