//! The walk over a request: unknown names, wrong types, values out of range; every fault with its pointer.

use serde_json::{Map, Value};

use super::fields;
use super::kinds::{Kind, shown};
use crate::config::nearest::suggestion;
use crate::domain::field_error::FieldError;

/// Deepest nesting of weighted rewards.
const MAX_REWARD_DEPTH: usize = 4;

/// All faults of `settings`, checked for the method whose defaults are `method`.
pub fn faults(settings: &Map<String, Value>, method: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    section("", settings, method, &mut errors);
    errors
}

fn section(prefix: &str, object: &Map<String, Value>, method: &Value, errors: &mut Vec<FieldError>) {
    for (name, value) in object {
        let pointer = format!("{prefix}/{}", escape(name));
        let known = fields::find(&pointer).filter(|_| !name.contains(['/', '~']));
        let Some(field) = known else {
            let names = fields::names(prefix, method);
            errors.push(FieldError::new(pointer, format!("unknown field `{name}`: {}", suggestion(name, &names))));
            continue;
        };
        if !fields::applies(&pointer, method) {
            let method_name = method["type"].as_str().unwrap_or_default();
            let names = fields::names(prefix, method);
            let detail = format!("`{name}` is no setting of method `{method_name}`, which has: {}", names.join(", "));
            errors.push(FieldError::new(pointer, detail));
            continue;
        }
        if value.is_null() && field.nullable {
            continue;
        }
        if let Some(complaint) = field.kind.complaint(value) {
            errors.push(FieldError::new(pointer, format!("`{name}` {complaint}")));
            continue;
        }
        match (field.kind, value) {
            (Kind::Section, Value::Object(inner)) => section(&pointer, inner, method, errors),
            (Kind::Reward, Value::Object(inner)) => reward(&pointer, inner, 0, errors),
            _ => {}
        }
    }
}

fn reward(pointer: &str, object: &Map<String, Value>, depth: usize, errors: &mut Vec<FieldError>) {
    const TYPES: Kind =
        Kind::Choice { allowed: &["math", "format", "weighted"], later: &["exact", "choice", "number", "webhook"] };
    let Some(kind) = object.get("type") else {
        let detail = "a reward needs its `type`: \"math\", \"format\" or \"weighted\"";
        errors.push(FieldError::new(format!("{pointer}/type"), detail));
        return;
    };
    if let Some(complaint) = TYPES.complaint(kind) {
        errors.push(FieldError::new(format!("{pointer}/type"), format!("`type` {complaint}")));
        return;
    }
    let weighted = kind == "weighted";
    let known: &[&str] = if weighted { &["type", "parts"] } else { &["type"] };
    unknown_names(pointer, object, known, errors);
    if !weighted {
        return;
    }
    let pointer = format!("{pointer}/parts");
    match object.get("parts").and_then(Value::as_array) {
        Some(_) if depth >= MAX_REWARD_DEPTH => {
            errors.push(FieldError::new(pointer, format!("rewards nest deeper than {MAX_REWARD_DEPTH}; flatten them")));
        }
        Some(parts) if !parts.is_empty() => reward_parts(&pointer, parts, depth, errors),
        _ => errors.push(FieldError::new(
            pointer,
            "a weighted reward needs a non-empty list of parts, each {\"weight\": 0.9, \"reward\": {\"type\": \"math\"}}",
        )),
    }
}

fn reward_parts(pointer: &str, parts: &[Value], depth: usize, errors: &mut Vec<FieldError>) {
    for (index, part) in parts.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        let Some(part) = part.as_object() else {
            let detail = format!("is {}; it must be {{\"weight\": …, \"reward\": …}}", shown(part));
            errors.push(FieldError::new(pointer, detail));
            continue;
        };
        unknown_names(&pointer, part, &["weight", "reward"], errors);
        if !part.get("weight").is_some_and(Value::is_number) {
            errors.push(FieldError::new(format!("{pointer}/weight"), "a part needs its `weight`, a number"));
        }
        match part.get("reward").and_then(Value::as_object) {
            Some(inner) => reward(&format!("{pointer}/reward"), inner, depth + 1, errors),
            None => errors.push(FieldError::new(
                format!("{pointer}/reward"),
                "a part needs its `reward`, an object with a `type`",
            )),
        }
    }
}

fn unknown_names(pointer: &str, object: &Map<String, Value>, known: &[&str], errors: &mut Vec<FieldError>) {
    for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
        let detail = format!("unknown field `{name}`: {}", suggestion(name, known));
        errors.push(FieldError::new(format!("{pointer}/{}", escape(name)), detail));
    }
}

/// A name as a JSON pointer spells it (RFC 6901).
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
