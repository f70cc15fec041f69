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

/// Responses of a group that can still be compared with each other.
const SMALLEST_GROUP: u64 = 2;

/// Held-out rows of a small evaluation.
const FEW_ROWS: u64 = 64;

/// A setting, the value it would get, and the job with it.
type Change<'a> = (&'static str, &'a dyn Fn(&JobSpec) -> Option<(String, JobSpec)>);

/// The changes that make `spec` fit into `limit` bytes, each alone and with those before it. Changes that are already
/// in place or would not lower the peak are omitted. If the peak of the last one is above the limit, no settings fit.
pub fn advice(model: &ModelSize, spec: &JobSpec, row: &RowShape, site: Site, limit: u64) -> Vec<Advice> {
    let peak = |spec: &JobSpec| {
        let response_tokens = spec.rollout.max_new_tokens as usize;
        estimate(model, spec, &RowShape { response_tokens, ..row.clone() }, site).peak
    };
    let fits = |spec: &JobSpec| peak(spec) <= limit;
    let micro_batch = |spec: &JobSpec| smaller_micro_batches(spec, row, fits);
    let groups = |spec: &JobSpec| smaller_groups(spec, fits);
    let short = |spec: &JobSpec| shorter(spec, fits);
    let offloaded = |spec: &JobSpec| offload(spec, site);
    let changes: [Change<'_>; 9] = [
        ("/train/gradient_checkpointing", &checkpointing),
        ("/batch/microbatch_tokens", &micro_batch),
        ("/train/freeze_vision", &freeze_vision),
        ("/train/parameters", &adapters),
        ("/train/dtype", &narrow),
        ("/optimizer/offload", &offloaded),
        ("/eval_rows", &smaller_evaluations),
        ("/rollout/group_size", &groups),
        ("/rollout/max_new_tokens", &short),
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

/// The optimizer in main memory, where the device has memory of its own.
fn offload(spec: &JobSpec, site: Site) -> Option<(String, JobSpec)> {
    let mut changed = spec.clone();
    changed.optimizer.offload = true;
    (changed != *spec && !site.cpu).then(|| ("true".to_owned(), changed))
}

/// The first of the halves of `value` with which the job fits, or `least` if it does with none.
fn halved(value: u64, least: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let mut half = (value / 2).max(least);
    while half > least && !fits(half) {
        half = (half / 2).max(least);
    }
    half
}

/// Groups of half the size, or a quarter, and so on.
fn smaller_groups(spec: &JobSpec, fits: impl Fn(&JobSpec) -> bool) -> Option<(String, JobSpec)> {
    let with = |size: u64| {
        let mut changed = spec.clone();
        changed.rollout.group_size = size;
        changed
    };
    if !spec.method.is_reinforcement() || spec.rollout.group_size <= SMALLEST_GROUP {
        return None;
    }
    let size = halved(spec.rollout.group_size, SMALLEST_GROUP, |size| fits(&with(size)));
    Some((size.to_string(), with(size)))
}

/// Responses of half the length, or a quarter, and so on.
fn shorter(spec: &JobSpec, fits: impl Fn(&JobSpec) -> bool) -> Option<(String, JobSpec)> {
    let with = |tokens: u64| {
        let mut changed = spec.clone();
        changed.rollout.max_new_tokens = tokens;
        changed
    };
    if spec.rollout.max_new_tokens <= 1 {
        return None;
    }
    let tokens = halved(spec.rollout.max_new_tokens, 1, |tokens| fits(&with(tokens)));
    Some((tokens.to_string(), with(tokens)))
}

/// The largest power of two that fits, or one row; if none does, one response however short it becomes.
fn smaller_micro_batches(spec: &JobSpec, row: &RowShape, fits: impl Fn(&JobSpec) -> bool) -> Option<(String, JobSpec)> {
    let mut changed = spec.clone();
    let least = row.prompt_tokens as u64 + spec.rollout.max_new_tokens;
    let mut tokens = spec.batch.microbatch_tokens.saturating_sub(1);
    while tokens > least {
        // The largest power of two below.
        tokens = (tokens + 1).next_power_of_two() / 2;
        changed.batch.microbatch_tokens = tokens.max(least);
        if fits(&changed) {
            break;
        }
        tokens -= 1;
    }
    if !fits(&changed) {
        changed.batch.microbatch_tokens = spec.batch.microbatch_tokens.min(row.prompt_tokens as u64 + 1);
    }
    (changed != *spec).then(|| (changed.batch.microbatch_tokens.to_string(), changed))
}
