//! The ranges of numbers in the API's document: printed from the tables that the checks read.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{datasets, extract, logs, metrics, runs};
use crate::config::datasets::EVAL_SHARE;
use crate::config::serving::{MASKED_SHARE, TEMPERATURE, TOP_LOGPROBS, TOP_P};
use crate::domain::job_field::{FIELDS, find};
use crate::domain::kind::{Kind, Span};
use crate::domain::method;
use crate::domain::reward_kind::REWARDS;

/// As many as the model, or a setting of the server, allows.
const AT_LEAST_ONE: Kind = Kind::Whole { min: 1, max: u64::MAX };

/// Numbers of requests that are settings of no job: schema, property, range.
const BODIES: [(&str, &str, Kind); 14] = [
    ("GenerateRequest", "max_new_tokens", AT_LEAST_ONE),
    ("GenerateRequest", "n", AT_LEAST_ONE),
    ("GenerateRequest", "temperature", TEMPERATURE),
    ("GenerateRequest", "top_p", TOP_P),
    ("GenerateRequest", "logprobs", TOP_LOGPROBS),
    ("ChatRequest", "max_completion_tokens", AT_LEAST_ONE),
    ("ChatRequest", "max_tokens", AT_LEAST_ONE),
    ("ChatRequest", "n", AT_LEAST_ONE),
    ("ChatRequest", "temperature", TEMPERATURE),
    ("ChatRequest", "top_p", TOP_P),
    ("ChatRequest", "top_logprobs", TOP_LOGPROBS),
    ("AblatePatches", "top_patches", MASKED_SHARE),
    ("AblatePatches", "random_patches", MASKED_SHARE),
    ("DatasetRequest", "eval_share", EVAL_SHARE),
];

/// Bodies with a setting of a job at their top: schema, and the setting's pointer in a job.
const OF_JOBS: [(&str, &str); 3] =
    [("JobPatch", "/priority"), ("ContinueRequest", "/steps"), ("AuditRequest", "/method/dependency_threshold")];

const fn from_one_to(max: u64) -> Kind {
    Kind::Whole { min: 1, max }
}

/// Numbers of queries: operation (none: all others), parameter, range.
const QUERIES: [(Option<&str>, &str, Kind); 8] = [
    (Some("dataset_rows"), "limit", from_one_to(datasets::MAX_ROWS)),
    (Some("job_logs"), "limit", from_one_to(logs::MAX_LINES as u64)),
    (Some("job_logs"), "tail", from_one_to(logs::MAX_LINES as u64)),
    (Some("job_logs_stream"), "limit", from_one_to(logs::MAX_LINES as u64)),
    (Some("job_logs_stream"), "tail", from_one_to(logs::MAX_LINES as u64)),
    (Some("list_runs"), "points", from_one_to(runs::MAX_SPARKLINE_POINTS as u64)),
    (None, "max_points", from_one_to(metrics::MAX_POINTS as u64)),
    (None, "limit", from_one_to(extract::MAX_LIMIT as u64)),
];

const SCHEMAS: &str = "/components/schemas";

/// Prints the range of every number that a request may hold.
pub fn describe(document: &mut Value) {
    for field in FIELDS {
        let path: Vec<&str> = field.pointer.split('/').skip(1).collect();
        mark(document, "JobSpec", &path, field.kind);
        if let ["method", name] = path.as_slice() {
            for method in method::NAMES {
                mark(document, &settings_of(method), &[*name], field.kind);
            }
        }
    }
    for (schema, name, kind) in BODIES {
        mark(document, schema, &[name], kind);
    }
    for (schema, pointer) in OF_JOBS {
        if let (Some(field), Some((_, name))) = (find(pointer), pointer.rsplit_once('/')) {
            mark(document, schema, &[name], field.kind);
        }
    }
    for (index, kind) in REWARDS.iter().enumerate() {
        for setting in kind.settings {
            let at = format!("{SCHEMAS}/RewardSpec/oneOf/{index}");
            bound_all(document, at, &[setting.name], setting.kind);
        }
    }
    queries(document);
    let mut numbers = BTreeSet::new();
    for at in requests(document) {
        collect(document, &at, &mut BTreeSet::new(), &mut numbers);
    }
    for at in numbers {
        if let Some(Value::Object(schema)) = document.pointer_mut(&at) {
            bound_by_type(schema);
        }
    }
}

/// The schema of a method's settings alone.
fn settings_of(method: &str) -> String {
    let (first, rest) = method.split_at(1);
    format!("{}{rest}Spec", first.to_uppercase())
}

fn mark(document: &mut Value, schema: &str, path: &[&str], kind: Kind) {
    bound_all(document, format!("{SCHEMAS}/{schema}"), path, kind);
}

fn bound_all(document: &mut Value, at: String, path: &[&str], kind: Kind) {
    let mut found = Vec::new();
    places(document, at, path, &mut found);
    for at in found {
        if let Some(Value::Object(schema)) = document.pointer_mut(&at) {
            bound(schema, kind);
        }
    }
}

/// Addresses of the schemas that `path` leads to from the one at `at`, wherever references and alternatives lead.
fn places(document: &Value, at: String, path: &[&str], found: &mut Vec<String>) {
    let Some(schema) = document.pointer(&at) else { return };
    if let Some(target) = schema["$ref"].as_str() {
        return places(document, target.trim_start_matches('#').to_owned(), path, found);
    }
    for alternatives in ["oneOf", "anyOf", "allOf"] {
        for index in 0..schema[alternatives].as_array().map_or(0, Vec::len) {
            places(document, format!("{at}/{alternatives}/{index}"), path, found);
        }
    }
    match path {
        [] => found.push(at),
        [first, rest @ ..] => places(document, format!("{at}/properties/{first}"), rest, found),
    }
}

fn is(schema: &Map<String, Value>, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(several)) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

fn is_number(schema: &Map<String, Value>) -> bool {
    is(schema, "number") || is(schema, "integer")
}

fn bound(schema: &mut Map<String, Value>, kind: Kind) {
    match kind {
        Kind::Pair { span, .. } => {
            if let Some(Value::Object(items)) = schema.get_mut("items") {
                bound(items, Kind::Number(span));
            }
        }
        _ if !is_number(schema) => {}
        Kind::Whole { min, max } => put(schema, json!(min), json!(max)),
        Kind::Signed { min, max } => put(schema, json!(min), json!(max)),
        Kind::Number(span) => bound_by_span(schema, span),
        _ => {}
    }
}

fn put(schema: &mut Map<String, Value>, min: Value, max: Value) {
    schema.insert("minimum".to_owned(), min);
    schema.insert("maximum".to_owned(), max);
}

fn bound_by_span(schema: &mut Map<String, Value>, span: Span) {
    let ends = [(span.low(), "minimum", "exclusiveMinimum"), (span.high(), "maximum", "exclusiveMaximum")];
    for (end, with, without) in ends {
        if let Some((end, itself)) = end {
            let name = if itself { with } else { without };
            schema.insert(name.to_owned(), plain(end));
        }
    }
}

/// A number without the decimal point that it does not need.
fn plain(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

/// What a whole number can be by its type, where nothing else bounds it.
fn bound_by_type(schema: &mut Map<String, Value>) {
    if !is(schema, "integer") || schema.contains_key("maximum") {
        return;
    }
    let natural = schema.get("minimum").and_then(Value::as_u64);
    let (min, max) = match (schema.get("format").and_then(Value::as_str), natural) {
        (Some("int32"), Some(min)) => (json!(min), json!(u32::MAX)),
        (Some("int32"), None) => (json!(i32::MIN), json!(i32::MAX)),
        (_, Some(min)) => (json!(min), json!(u64::MAX)),
        (_, None) => (json!(i64::MIN), json!(i64::MAX)),
    };
    put(schema, min, max);
}

fn queries(document: &mut Value) {
    for item in members(document, "/paths") {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap_or_default().to_owned();
                let known = QUERIES.iter().find(|(of, known, _)| *known == name && of.is_none_or(|of| of == id));
                let schema = parameter.get_mut("schema").and_then(Value::as_object_mut);
                if let (Some((.., kind)), Some(schema)) = (known, schema) {
                    bound(schema, *kind);
                }
            }
        }
    }
}

fn members<'a>(document: &'a mut Value, at: &str) -> impl Iterator<Item = &'a mut Value> {
    document.pointer_mut(at).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
}

/// Addresses of the schemas of everything that requests bring: parameters and JSON bodies.
fn requests(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let path = path.replace('~', "~0").replace('/', "~1");
        for (method, operation) in item.as_object().into_iter().flatten() {
            let at = format!("/paths/{path}/{method}");
            let parameters = operation["parameters"].as_array().map_or(0, Vec::len);
            found.extend((0..parameters).map(|index| format!("{at}/parameters/{index}/schema")));
            found.push(format!("{at}/requestBody/content/application~1json/schema"));
        }
    }
    found
}

/// Addresses of all numbers below the schema at `at`.
fn collect(document: &Value, at: &str, seen: &mut BTreeSet<String>, numbers: &mut BTreeSet<String>) {
    let Some(Value::Object(schema)) = document.pointer(at) else { return };
    if !seen.insert(at.to_owned()) {
        return;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return collect(document, target.trim_start_matches('#'), seen, numbers);
    }
    if is_number(schema) {
        numbers.insert(at.to_owned());
    }
    for list in ["oneOf", "anyOf", "allOf", "prefixItems"] {
        for index in 0..schema.get(list).and_then(Value::as_array).map_or(0, Vec::len) {
            collect(document, &format!("{at}/{list}/{index}"), seen, numbers);
        }
    }
    for one in ["items", "additionalProperties"] {
        collect(document, &format!("{at}/{one}"), seen, numbers);
    }
    for name in schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        collect(document, &format!("{at}/properties/{name}"), seen, numbers);
    }
}
