//! Configurations of `EasyR1` (and of the released VGPO code, which builds on it) as jobs.
//!
//! A key that the file leaves out has the value that their code gives it, so the job states every setting that has a
//! counterpart here. What has none is listed with the reason: nothing is dropped silently.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::easyr1_rules::{DROPPED, RULES, Rule};
use super::easyr1_settings::{Settings, parse};

/// A converted configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Converted {
    /// The job, as for `POST /v1/jobs`.
    pub job: Value,
    /// Keys of the file that the job does not hold.
    pub dropped: Vec<Dropped>,
}

/// A key that has no place in the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The key, e.g. `worker.rollout.gpu_memory_utilization`.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Why, and what to do instead.
    pub reason: String,
}

/// Why a configuration cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// No YAML.
    #[error("it is not valid YAML: {0}")]
    Yaml(String),
    /// YAML of another shape.
    #[error("it must be a mapping with `data`, `algorithm`, `worker` and `trainer`")]
    Shape,
    /// An override without a value.
    #[error("`{0}` must be KEY=VALUE, e.g. worker.actor.optim.lr=1e-6")]
    Override(String),
}

/// Converts a configuration; `overrides` are `KEY=VALUE` as their command line takes them, `rows` is the number of rows
/// to train on, which turns epochs into steps.
pub fn convert(yaml: &str, overrides: &[String], rows: Option<u64>) -> Result<Converted, ConvertError> {
    let tree: Value = serde_saphyr::from_str(yaml).map_err(|error| ConvertError::Yaml(error.to_string()))?;
    let object = tree.as_object().ok_or(ConvertError::Shape)?;
    if !["data", "algorithm", "worker", "trainer"].iter().any(|section| object.contains_key(*section)) {
        return Err(ConvertError::Shape);
    }
    let mut given = BTreeMap::new();
    flatten("", &tree, &mut given);
    for text in overrides {
        let (key, value) = text.split_once('=').ok_or_else(|| ConvertError::Override(text.clone()))?;
        given.insert(key.trim_start_matches("--").to_owned(), parse(value));
    }
    let settings = Settings { given, rows };
    let (mut job, mut dropped) = (json!({}), Vec::new());
    for (key, rule) in RULES {
        match rule(&settings) {
            Rule::Set(pointer, value) => place(&mut job, pointer, value),
            Rule::Nothing => {}
            Rule::Drop(reason) => dropped.extend(settings.given.get(*key).map(|value| drop(key, value, reason))),
        }
    }
    for (key, value) in &settings.given {
        if RULES.iter().any(|(known, _)| known == key) {
            continue;
        }
        let fits = |pattern: &str| pattern.strip_suffix('*').map_or(pattern == key, |head| key.starts_with(head));
        let reason = DROPPED.iter().find(|(pattern, _)| fits(pattern)).map(|(_, reason)| *reason);
        dropped.push(drop(key, value, reason.unwrap_or("unknown key: there is no counterpart").to_owned()));
    }
    // What was not set cannot be missed.
    dropped.retain(|key: &Dropped| !key.value.is_null());
    dropped.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Converted { job, dropped })
}

fn drop(key: &str, value: &Value, reason: String) -> Dropped {
    Dropped { key: key.to_owned(), value: value.clone(), reason }
}

/// Leaves by dotted key; lists are leaves.
fn flatten(prefix: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&key, inner, leaves);
            }
        }
        // YAML 1.1 readers take `1e-6`, which has no point, for a text.
        Value::String(text) => {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            leaves.insert(prefix.to_owned(), number.map_or_else(|| value.clone(), |number| json!(number)));
        }
        _ => {
            leaves.insert(prefix.to_owned(), value.clone());
        }
    }
}

/// Sets a value at a JSON pointer and makes the objects on the way.
fn place(job: &mut Value, pointer: &str, value: Value) {
    let mut slot = job;
    for name in pointer.split('/').skip(1) {
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Value::Object(fields) = slot else { return };
        slot = fields.entry(name).or_insert(Value::Null);
    }
    *slot = value;
}
