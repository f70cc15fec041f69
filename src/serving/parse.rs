//! Parses JSON requests, with errors that name the field and the closest known name.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::ServingError;
use crate::domain::nearest::{suggestion, types_in_words};

/// Reads a request.
///
/// # Errors
/// The first invalid field, by JSON pointer; for an unknown field also the closest known one.
pub fn parse<T: DeserializeOwned>(value: &Value) -> Result<T, ServingError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let problem = error.inner().to_string();
        let mut pointer = pointer(error.path());
        if let Some(name) = problem.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
            pointer = format!("{pointer}/{name}");
        }
        ServingError::field(pointer, describe(&problem))
    })
}

fn pointer(path: &Path) -> String {
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out = format!("{out}/{index}"),
            Segment::Map { key } => {
                out = format!("{out}/{}", key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    out
}

/// Serde's complaint, with a guess at what an unknown name was meant to be.
fn describe(problem: &str) -> String {
    if !problem.starts_with("unknown ") {
        return types_in_words(problem);
    }
    let mut names = problem.split('`').skip(1).step_by(2);
    let Some(name) = names.next() else { return problem.to_owned() };
    let known: Vec<&str> = names.collect();
    let head = problem.split(", expected").next().unwrap_or(problem);
    format!("{head}: {}", suggestion(name, &known))
}
