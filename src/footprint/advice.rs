//! Which settings would make a job fit.

use crate::config::job::default_lora;
use crate::domain::spec::{DType, JobSpec, TrainedParameters};
use crate::model::footprint::ModelSize;

use super::{RowShape, Site, estimate};

/// One change of a job's settings, and what it needs then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// JSON pointer of the setting.
    pub pointer: &'static str,
    /// Its value, as JSON.
    pub value: String,
    /// The peak with this change alone.
    pub alone: u64,
    /// The peak with this change and those before it.
    pub together: u64,
}

/// Number of suggestions, if there are as many; more only if these are not enough.
const ENOUGH: usize = 3;

/// Held-out rows of a small evaluation.
const FEW_ROWS: u64 = 64;

/// A setting, the value it would get, and the job with it.
type Change<'a> = (&'static str, &'a dyn Fn(&JobSpec) -> Option<(String, JobSpec)>);

/// The changes that make `spec` fit into `limit` bytes, each alone and with those before it. Changes that are already
/// in place or would not lower the peak are omitted.
pub fn advice(model: &ModelSize, spec: &JobSpec, row: &RowShape, site: Site, limit: u64) -> Vec<Advice> {
    let peak = |spec: &JobSpec| estimate(model, spec, row, site).peak;
    let micro_batch = |spec: &JobSpec| smaller_micro_batches(spec, row, limit, peak);
    let changes: [Change<'_>; 7] = [
        ("/train/gradient_checkpointing", &checkpointing),
        ("/batch/microbatch_tokens", &micro_batch),
        ("/train/freeze_vision", &freeze_vision),
        ("/train/parameters", &adapters),
        ("/train/dtype", &narrow),
        ("/eval_rows", &smaller_evaluations),
        ("/rollout/max_new_tokens", &shorter),
    ];
    let mut together = spec.clone();
    let mut out: Vec<Advice> = Vec::new();
    for (pointer, change) in changes {
        if out.len() >= ENOUGH && out.last().is_some_and(|last| last.together <= limit) {
            break;
        }
        let Some((_, alone)) = change(spec) else { continue };
        let Some((value, next)) = change(&together) else { continue };
        // If another part of the step is the largest, the change would not help.
        if peak(&next) >= peak(&together) {
            continue;
        }
        together = next;
        out.push(Advice { pointer, value, alone: peak(&alone), together: peak(&together) });
    }
    out
}

fn checkpointing(spec: &JobSpec) -> Option<(String, JobSpec)> {
    let mut changed = spec.clone();
    changed.train.gradient_checkpointing = true;
    (changed != *spec).then(|| ("true".to_owned(), changed))
}

fn freeze_vision(spec: &JobSpec) -> Option<(String, JobSpec)> {
    let mut changed = spec.clone();
    changed.train.freeze_vision = true;
    (changed != *spec).then(|| ("true".to_owned(), changed))
}

/// Adapters of the default rank on frozen weights.
fn adapters(spec: &JobSpec) -> Option<(String, JobSpec)> {
    if spec.train.lora.is_some() || !spec.method.trains() {
        return None;
    }
    let mut changed = spec.clone();
    changed.train.parameters = TrainedParameters::Lora;
    changed.train.lora = Some(default_lora());
    Some(("\"lora\"".to_owned(), changed))
}

/// 16-bit weights, which help if the weights themselves are large.
fn narrow(spec: &JobSpec) -> Option<(String, JobSpec)> {
    let mut changed = spec.clone();
    changed.train.dtype = DType::Bf16;
    (changed != *spec).then(|| ("\"bf16\"".to_owned(), changed))
}

/// Evaluations of at most [`FEW_ROWS`] rows.
fn smaller_evaluations(spec: &JobSpec) -> Option<(String, JobSpec)> {
    let mut changed = spec.clone();
    changed.eval_rows = spec.eval_rows.min(FEW_ROWS);
    (changed != *spec).then(|| (FEW_ROWS.to_string(), changed))
}

/// Responses of half the length.
fn shorter(spec: &JobSpec) -> Option<(String, JobSpec)> {
    let mut changed = spec.clone();
    changed.rollout.max_new_tokens = (spec.rollout.max_new_tokens / 2).max(1);
    (changed != *spec).then(|| (changed.rollout.max_new_tokens.to_string(), changed))
}

/// The largest power of two that fits, or one row if none does.
fn smaller_micro_batches(
    spec: &JobSpec,
    row: &RowShape,
    limit: u64,
    peak: impl Fn(&JobSpec) -> u64,
) -> Option<(String, JobSpec)> {
    let mut changed = spec.clone();
    let least = row.tokens() as u64;
    let mut tokens = spec.batch.microbatch_tokens.saturating_sub(1);
    while tokens > least {
        // The largest power of two below.
        tokens = (tokens + 1).next_power_of_two() / 2;
        changed.batch.microbatch_tokens = tokens.max(least);
        if peak(&changed) <= limit {
            break;
        }
        tokens -= 1;
    }
    (changed != *spec).then(|| (changed.batch.microbatch_tokens.to_string(), changed))
}
