//! The walk over a request: unknown names, wrong types, values out of range; every fault with its pointer.

use serde_json::{Map, Value};

use super::names::escape;
use super::rewards;
use crate::domain::field_error::{FieldError, MOST_ERRORS};
use crate::domain::job_field;
use crate::domain::kind::Kind;
use crate::domain::nearest::suggestion;
use crate::domain::nul::nul_pointers;

/// All faults of `settings`, checked for the method whose defaults are `method`.
pub fn faults(settings: &Map<String, Value>, method: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    section("", settings, method, &mut errors);
    let nul = nul_pointers(settings).unwrap_or_default().into_iter();
    errors.extend(
        nul.map(|pointer| FieldError::new(pointer, "it holds a NUL character (U+0000), which cannot be stored")),
    );
    errors
}

fn section(prefix: &str, object: &Map<String, Value>, method: &Value, errors: &mut Vec<FieldError>) {
    for (name, value) in object {
        if errors.len() >= MOST_ERRORS {
            return;
        }
        let pointer = format!("{prefix}/{}", escape(name));
        let known = job_field::find(&pointer).filter(|_| !name.contains(['/', '~']));
        let Some(field) = known else {
            let names = job_field::names(prefix, method);
            errors.push(FieldError::new(pointer, format!("unknown field `{name}`: {}", suggestion(name, &names))));
            continue;
        };
        if !job_field::applies(&pointer, method) {
            let method_name = method["type"].as_str().unwrap_or_default();
            let names = job_field::names(prefix, method);
            let detail =
                format!("`{name}` is not a setting of method `{method_name}`, which has: {}", names.join(", "));
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
            (Kind::Reward, Value::Object(inner)) => rewards::faults(&pointer, inner, errors),
            _ => {}
        }
    }
}
