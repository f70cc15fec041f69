//! A folder of results belongs to one job: another one is refused, because it would go on from what the first has left
//! there, and report the first one's numbers as its own.

use std::path::Path;

use serde_json::{Map, Value};

use super::files::{read_json, write_whole};
use crate::domain::brief::{QUOTED, cut};
use crate::domain::spec::JobSpec;

/// The job whose results a folder holds.
const JOB_FILE: &str = "job.json";

/// What may change when a run continues: how long it is, what is recorded, and how its memory is used.
const MAY_CHANGE: [&str; 14] = [
    "/name",
    "/project",
    "/tags",
    "/priority",
    "/resources",
    "/steps",
    "/eval_before",
    "/eval_every",
    "/early_stop",
    "/checkpoint_every",
    "/keep_checkpoints",
    "/log_samples_every",
    "/batch/microbatch_tokens",
    "/train/gradient_checkpointing",
];

/// Notes the job in the folder `out`, which is made if need be.
///
/// # Errors
/// The folder holds the results of another job, or cannot be written.
pub fn claim(out: &Path, spec: &JobSpec) -> Result<(), String> {
    let job = serde_json::to_value(spec).map_err(|error| format!("the job cannot be written: {error}"))?;
    let path = out.join(JOB_FILE);
    if path.exists()
        && let Some((field, there, here)) = difference("", &read_json(&path)?, &job)
    {
        let shown = |value: &Value| cut(&value.to_string(), QUOTED);
        return Err(format!(
            "{} holds the results of another job, whose `{}` is {} and not {}; choose another folder with `--out`, or \
             remove it",
            out.display(),
            field.trim_start_matches('/').replace('/', "."),
            shown(&there),
            shown(&here)
        ));
    }
    std::fs::create_dir_all(out).map_err(|e| format!("cannot create {}: {e}", out.display()))?;
    write_whole(&path, job.to_string().as_bytes())
}

/// The fields of an object; what kind of thing it is says more than all others.
fn kind_first(fields: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    fields.get_key_value("type").into_iter().chain(fields)
}

/// The first field that both jobs have, that must not change, and that is not the same. A field that only one of them
/// has is one that the other's program did not know.
fn difference(at: &str, there: &Value, here: &Value) -> Option<(String, Value, Value)> {
    if MAY_CHANGE.contains(&at) {
        return None;
    }
    match (there, here) {
        (Value::Object(there), Value::Object(here)) => kind_first(there)
            .filter_map(|(name, value)| Some((name, value, here.get(name)?)))
            .find_map(|(name, one, other)| difference(&format!("{at}/{name}"), one, other)),
        _ => (there != here).then(|| (at.to_owned(), there.clone(), here.clone())),
    }
}
