//! Names of settings: those that are known, and how a JSON pointer spells them.

use serde_json::{Map, Value};

use crate::domain::field_error::{FieldError, MOST_ERRORS};
use crate::domain::nearest::suggestion;

/// Adds a fault for every name that is not known.
pub(super) fn unknown_names(pointer: &str, object: &Map<String, Value>, known: &[&str], errors: &mut Vec<FieldError>) {
    let unknown = object.keys().filter(|name| !known.contains(&name.as_str()));
    for name in unknown.take(MOST_ERRORS.saturating_sub(errors.len())) {
        let detail = format!("unknown field `{name}`: {}", suggestion(name, known));
        errors.push(FieldError::new(format!("{pointer}/{}", escape(name)), detail));
    }
}

/// A setting's JSON pointer, from a pointer (`/method/beta`) or a dotted path (`method.beta`).
pub fn pointer(name: &str) -> String {
    if name.starts_with('/') {
        return name.to_owned();
    }
    format!("/{}", name.split('.').map(escape).collect::<Vec<_>>().join("/"))
}

/// A name as a JSON pointer spells it (RFC 6901).
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
