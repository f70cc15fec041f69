//! Settings that a method does not read: a table for each method that has some.

use super::method::Method;

/// What only optimizer steps read. Entries that end with `/` stand for all settings below.
const OF_TRAINING: &[&str] = &[
    "/steps",
    "/optimizer/",
    "/train/parameters",
    "/train/lora",
    "/train/lora/",
    "/train/freeze_vision",
    "/train/gradient_checkpointing",
    "/train/base",
    "/batch/minibatch_prompts",
    "/data/shuffle",
    "/eval_before",
    "/eval_every",
    "/best/",
    "/early_stop",
    "/early_stop/",
    "/checkpoint_every",
    "/keep_checkpoints",
];
/// What only rollouts read.
const OF_ROLLOUTS: &[&str] = &[
    "/batch/epochs_per_batch",
    "/rollout/group_size",
    "/rollout/top_p",
    "/rollout/correction_cap",
    "/rollout/filter",
    "/rollout/filter/",
    "/rollout/mask_truncated",
    "/rollout/engine/",
];
/// The temperature at which log-probabilities are measured: an audit reads it, too.
const TEMPERATURE: &[&str] = &["/rollout/temperature"];

/// Does a job of this method ignore the setting at `pointer`?
pub fn is_unused(pointer: &str, method: &Method) -> bool {
    let groups: &[&[&str]] = match method {
        Method::Eval(eval) if eval.audit => &[OF_TRAINING, OF_ROLLOUTS],
        Method::Eval(_) => &[OF_TRAINING, OF_ROLLOUTS, TEMPERATURE],
        Method::Sft(_) => &[OF_ROLLOUTS, TEMPERATURE],
        _ => &[],
    };
    let names = |entry: &&str| pointer == *entry || (entry.ends_with('/') && pointer.starts_with(*entry));
    groups.iter().copied().flatten().any(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job_field::FIELDS;

    #[test]
    fn every_entry_is_a_setting() {
        for entry in [OF_TRAINING, OF_ROLLOUTS, TEMPERATURE].concat() {
            let is_one = |pointer: &str| pointer == entry || (entry.ends_with('/') && pointer.starts_with(entry));
            assert!(FIELDS.iter().any(|field| is_one(field.pointer)), "{entry}");
        }
    }
}
