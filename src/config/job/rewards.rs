//! The walk over a reward: unknown types and names, values out of range, in rewards of any nesting.

use serde_json::{Map, Value};

use super::check::{escape, unknown_names};
use super::kinds::{Kind, Span, shown};
use crate::domain::field_error::{FieldError, MOST_ERRORS};

/// Deepest nesting of weighted rewards.
const MAX_DEPTH: usize = 4;
/// Parts of a weighted reward, with those of the rewards in it.
const MAX_PARTS: usize = 32;

/// A setting of a reward: its name, what it may hold, and whether it must be there.
type Setting = (&'static str, Kind, bool);

const TOLERANCE: Kind = Kind::Number(Span::AtLeast(0.0));
const TOKENS: Kind = Kind::Whole { min: 1, max: 1_000_000_000 };
const COORDINATES: Kind = Kind::Choice { allowed: &["pixel", "thousand", "resized"], later: &[] };

/// Every type of reward and its settings; `parts` of `weighted` has a walk of its own.
const TYPES: &[(&str, &[Setting])] = &[
    ("math", &[]),
    ("format", &[]),
    ("exact", &[("case_sensitive", Kind::Flag, false)]),
    ("choice", &[]),
    ("numeric", &[("absolute", TOLERANCE, false), ("relative", TOLERANCE, false)]),
    ("regex", &[("pattern", Kind::Text { max: 10_000 }, true)]),
    (
        "iou",
        &[
            ("answer", COORDINATES, false),
            ("truth", COORDINATES, false),
            ("threshold", Kind::Number(Span::OpenClosed(0.0, 1.0)), false),
        ],
    ),
    ("length", &[("limit", TOKENS, true), ("buffer", TOKENS, true)]),
    (
        "webhook",
        &[
            ("url", Kind::Text { max: 2000 }, true),
            ("timeout_seconds", Kind::Number(Span::OpenClosed(0.0, 3600.0)), false),
            ("retries", Kind::Whole { min: 0, max: 20 }, false),
        ],
    ),
    (
        "image_text",
        &[
            ("model", Kind::Text { max: 4096 }, true),
            ("score", Kind::Choice { allowed: &["cosine", "probability"], later: &[] }, false),
            ("text", Kind::Choice { allowed: &["response", "answer"], later: &[] }, false),
            ("low", Kind::Number(Span::Any), false),
            ("high", Kind::Number(Span::Any), false),
        ],
    ),
    ("weighted", &[]),
];

const NAMES: &[&str] =
    &["math", "format", "exact", "choice", "numeric", "regex", "iou", "length", "webhook", "image_text", "weighted"];

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
    let types = Kind::Choice { allowed: NAMES, later: &[] };
    let Some(kind) = object.get("type") else {
        let detail = format!("a reward needs its `type`: {}", types.describe());
        errors.push(FieldError::new(format!("{pointer}/type"), detail));
        return;
    };
    if let Some(complaint) = types.complaint(kind) {
        errors.push(FieldError::new(format!("{pointer}/type"), format!("`type` {complaint}")));
        return;
    }
    if kind == "weighted" {
        unknown_names(pointer, object, &["type", "parts"], errors);
        return weighted(&format!("{pointer}/parts"), object.get("parts"), depth, errors);
    }
    let settings = TYPES.iter().find(|(name, _)| kind == name).map_or(&[][..], |(_, settings)| settings);
    let known: Vec<&str> = std::iter::once("type").chain(settings.iter().map(|(name, ..)| *name)).collect();
    unknown_names(pointer, object, &known, errors);
    for (name, allowed, required) in settings {
        let pointer = format!("{pointer}/{}", escape(name));
        match object.get(*name).filter(|value| !value.is_null()) {
            None if *required => errors.push(FieldError::new(pointer, format!("`{name}` is required"))),
            None => {}
            Some(value) => errors.extend(
                allowed.complaint(value).map(|complaint| FieldError::new(pointer, format!("`{name}` {complaint}"))),
            ),
        }
    }
}

fn weighted(pointer: &str, parts: Option<&Value>, depth: usize, errors: &mut Vec<FieldError>) {
    match parts.and_then(Value::as_array) {
        Some(_) if depth >= MAX_DEPTH => {
            errors.push(FieldError::new(pointer, format!("rewards nest deeper than {MAX_DEPTH}; flatten them")));
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
            "a weighted reward needs a non-empty list of parts, each {\"weight\": 0.9, \"reward\": {\"type\": \"math\"}}",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_named_once() {
        assert_eq!(TYPES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), NAMES);
    }
}
