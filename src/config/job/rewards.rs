//! The walk over a reward: unknown types and names, values out of range, in rewards of any nesting.

use serde_json::{Map, Value};

use super::names::{escape, unknown_names};
use crate::domain::field_error::{FieldError, MOST_ERRORS};
use crate::domain::kind::{Kind, shown};
use crate::domain::reward_kind::{MAX_NESTING, MAX_PARTS, NAMES, RewardSetting, WEIGHTED, settings};

/// Adds the faults of the reward at `pointer`.
pub(super) fn faults(pointer: &str, object: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    reward(pointer, object, 0, errors);
    let parts = parts(object);
    if parts > MAX_PARTS {
        let detail = format!("the reward has {parts} parts, with those inside of others; the limit is {MAX_PARTS}");
        errors.push(FieldError::new(pointer, detail));
    }
}

/// Parts of a reward at any depth.
fn parts(object: &Map<String, Value>) -> usize {
    let inner = object.get("parts").and_then(Value::as_array).into_iter().flatten();
    inner.map(|part| 1 + part.get("reward").and_then(Value::as_object).map_or(0, parts)).sum()
}

fn reward(pointer: &str, object: &Map<String, Value>, depth: usize, errors: &mut Vec<FieldError>) {
    let types = Kind::Choice { allowed: &NAMES, later: &[] };
    let Some(kind) = object.get("type") else {
        let detail = format!("a reward needs its `type`: {}", types.describe());
        errors.push(FieldError::new(format!("{pointer}/type"), detail));
        return;
    };
    if let Some(complaint) = types.complaint(kind) {
        errors.push(FieldError::new(format!("{pointer}/type"), format!("`type` {complaint}")));
        return;
    }
    if kind == WEIGHTED {
        unknown_names(pointer, object, &["type", "parts"], errors);
        return weighted(&format!("{pointer}/parts"), object.get("parts"), depth, errors);
    }
    let settings = settings(kind.as_str().unwrap_or_default());
    let known: Vec<&str> = std::iter::once("type").chain(settings.iter().map(|setting| setting.name)).collect();
    unknown_names(pointer, object, &known, errors);
    for RewardSetting { name, kind, required } in settings.iter().copied() {
        let pointer = format!("{pointer}/{}", escape(name));
        match object.get(name).filter(|value| !value.is_null()) {
            None if required => errors.push(FieldError::new(pointer, format!("`{name}` is required"))),
            None => {}
            Some(value) => errors.extend(
                kind.complaint(value).map(|complaint| FieldError::new(pointer, format!("`{name}` {complaint}"))),
            ),
        }
    }
}

fn weighted(pointer: &str, parts: Option<&Value>, depth: usize, errors: &mut Vec<FieldError>) {
    match parts.and_then(Value::as_array) {
        Some(_) if depth >= MAX_NESTING => {
            errors.push(FieldError::new(pointer, format!("rewards nest deeper than {MAX_NESTING}; flatten them")));
        }
        Some(parts) if !parts.is_empty() => {
            for (index, value) in parts.iter().enumerate() {
                if errors.len() >= MOST_ERRORS {
                    return;
                }
                part(&format!("{pointer}/{index}"), value, depth, errors);
            }
        }
        _ => errors.push(FieldError::new(
            pointer,
            "a weighted reward needs a non-empty list of parts, each {\"weight\": 0.9, \"reward\": {\"type\": \
            \"math\"}}",
        )),
    }
}

fn part(pointer: &str, value: &Value, depth: usize, errors: &mut Vec<FieldError>) {
    let Some(part) = value.as_object() else {
        let detail = format!("is {}; it must be {{\"weight\": …, \"reward\": …}}", shown(value));
        errors.push(FieldError::new(pointer, detail));
        return;
    };
    unknown_names(pointer, part, &["weight", "reward"], errors);
    if !part.get("weight").is_some_and(Value::is_number) {
        errors.push(FieldError::new(format!("{pointer}/weight"), "a part needs its `weight`, a number"));
    }
    match part.get("reward").and_then(Value::as_object) {
        Some(inner) => reward(&format!("{pointer}/reward"), inner, depth + 1, errors),
        None => errors
            .push(FieldError::new(format!("{pointer}/reward"), "a part needs its `reward`, an object with a `type`")),
    }
}
