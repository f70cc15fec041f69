//! Job settings: the request over recommended settings over defaults, checked field by field.

mod check;
mod defaults;
mod document;
mod engine;
mod names;
mod relations;
mod rewards;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::config::method;
use crate::domain::field_error::FieldError;
use crate::domain::job_field;
use crate::domain::kind::Kind;
use crate::domain::method::{Method, NAMES, Variant};
use crate::domain::nearest::nearest;
use crate::domain::spec::{JobSpec, RewardSpec};
use crate::domain::unused::is_unused;

pub use defaults::{columns as default_columns, lora as default_lora};
pub use document::{Described, describe};
pub use names::{escape, pointer};

/// Where a setting's value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The program's default.
    Default,
    /// The model's or the data set's recommended settings.
    Recommended,
    /// The request itself.
    Request,
    /// The method does not use it, and the request does not name it.
    Unused,
}

/// Settings that a model or a data set recommends: a partial job, later entries of a list win over earlier ones.
#[derive(Debug, Clone, Copy)]
pub struct Recommended<'a> {
    /// The source of the recommendation, e.g. "model `starter`", for errors.
    pub source: &'a str,
    /// The partial job.
    pub settings: &'a Value,
}

/// Addresses of every setting of a job.
pub fn setting_pointers() -> impl Iterator<Item = &'static str> {
    job_field::FIELDS.iter().map(|field| field.pointer)
}

/// Faults of single settings outside a whole job: name (at the top of a job) and value.
pub fn field_faults<'a>(given: impl IntoIterator<Item = (&'a str, Value)>) -> Vec<FieldError> {
    let fault = |(name, value): (&str, Value)| {
        let pointer = format!("/{name}");
        let complaint = job_field::find(&pointer)?.kind.complaint(&value)?;
        Some(FieldError::new(pointer, format!("`{name}` {complaint}")))
    };
    given.into_iter().filter_map(fault).collect()
}

/// The reward that a request describes on its own.
///
/// # Errors
/// Every fault, by JSON pointer below `/reward`.
pub fn reward(value: &Value) -> Result<RewardSpec, Vec<FieldError>> {
    let Some(object) = value.as_object() else {
        return Err(vec![FieldError::new("/reward", "a reward is an object, e.g. {\"type\": \"math\"}")]);
    };
    let mut errors = Vec::new();
    rewards::faults("/reward", object, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = format!("/reward/{}", error.path().to_string().replace('.', "/"));
        vec![FieldError::new(pointer, error.inner().to_string())]
    })
}

/// The method that a request describes on its own: what it says over the defaults of its type and variant.
///
/// # Errors
/// Every fault, by JSON pointer below `/method`.
pub fn method(given: Option<&Value>) -> Result<Method, Vec<FieldError>> {
    let request: Map<String, Value> = given.map(|given| ("method".to_owned(), given.clone())).into_iter().collect();
    let layers = layers(&request, &[])?;
    let defaults = method_defaults(&layers)?;
    let errors = check::faults(&request, &defaults.value);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut tree = Settled::new(json!({ "method": defaults.value }));
    tree.lay_over("", &Value::Object(request.clone()), Origin::Request);
    let method: Method = serde_path_to_error::deserialize(&tree.value["method"]).map_err(|error| {
        let pointer = format!("/method/{}", error.path().to_string().replace('.', "/"));
        vec![FieldError::new(pointer, error.inner().to_string())]
    })?;
    relations::method_fault(&method).map_or(Ok(method), |fault| Err(vec![fault]))
}

/// A job with every value decided.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedJob {
    /// The settings.
    pub spec: JobSpec,
    /// Where each value came from, by JSON pointer into the spec.
    pub origins: BTreeMap<String, Origin>,
}

/// Decides every value of a job: `request` over `recommended` over defaults, which depend on the method.
///
/// Every fault of the request is reported, not only the first. Recommendations that do not fit the chosen method are
/// ignored; a recommended setting never switches on a section (such as `rollout.filter`) that the method leaves out.
pub fn resolve(request: &Value, recommended: &[Recommended<'_>]) -> Result<ResolvedJob, Vec<FieldError>> {
    let Value::Object(request) = request else {
        return Err(vec![FieldError::new(
            "",
            "a job is an object, e.g. {\"model\": \"starter\", \"dataset\": \"digits\"}",
        )]);
    };
    let layers = layers(request, recommended)?;
    let method = method_defaults(&layers)?;
    let mut errors = check::faults(request, &method.value);
    for name in ["model", "dataset"].into_iter().filter(|name| !request.contains_key(*name)) {
        let near = request.keys().find(|key| nearest(key, [name]).is_some());
        let hint = near.map(|near| format!(" (`{near}` is not a field)")).unwrap_or_default();
        errors.push(FieldError::new(format!("/{name}"), format!("`{name}` is required{hint}")));
    }
    for layer in recommended {
        errors.extend(recommendation_faults(layer, &method.value));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut defaults = defaults::job(method.typed, text("model"), text("dataset"));
    if strongest(&layers, "train", "parameters").is_some_and(|parameters| parameters == "lora") {
        defaults.train.lora = Some(defaults::lora());
    }
    let defaults = to_value(&defaults)?;
    let mut tree = Settled::new(defaults);
    for (origin, layer) in layers {
        tree.lay_over("", &Value::Object(layer.clone()), origin);
    }
    relations::follow(&mut tree);
    let spec: JobSpec = serde_path_to_error::deserialize(&tree.value).map_err(|error| {
        let pointer = format!("/{}", error.path().to_string().replace('.', "/"));
        vec![FieldError::new(pointer, error.inner().to_string())]
    })?;
    let errors = relations::faults(&spec);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut origins = tree.leaf_origins();
    for (pointer, origin) in &mut origins {
        if *origin != Origin::Request && is_unused(pointer, &spec.method) {
            *origin = Origin::Unused;
        }
    }
    Ok(ResolvedJob { spec, origins })
}

type Layer<'a> = (Origin, &'a Map<String, Value>);

/// All layers over the defaults, weakest first.
fn layers<'a>(
    request: &'a Map<String, Value>,
    recommended: &[Recommended<'a>],
) -> Result<Vec<Layer<'a>>, Vec<FieldError>> {
    let mut layers = Vec::new();
    for layer in recommended {
        match layer.settings {
            Value::Null => {}
            Value::Object(settings) => layers.push((Origin::Recommended, settings)),
            _ => {
                return Err(vec![FieldError::new(
                    "",
                    format!("the recommended settings of {} are not an object", layer.source),
                )]);
            }
        }
    }
    layers.push((Origin::Request, request));
    Ok(layers)
}

/// The value of a section's setting that wins, if any layer has one.
fn strongest<'a>(layers: &[Layer<'a>], section: &str, name: &str) -> Option<&'a Value> {
    layers.iter().rev().find_map(|(_, layer)| layer.get(section)?.get(name))
}

struct MethodDefaults {
    typed: Method,
    value: Value,
}

/// The chosen method's defaults: its type and variant decide what else can be set.
fn method_defaults(layers: &[Layer<'_>]) -> Result<MethodDefaults, Vec<FieldError>> {
    let name = strongest(layers, "method", "type").cloned().unwrap_or_else(|| json!(NAMES[0]));
    // A wrong variant is reported by the field check; its defaults do not matter then.
    let variant = match strongest(layers, "method", "variant").and_then(Value::as_str) {
        Some("released") => Variant::Released,
        _ => Variant::Paper,
    };
    let typed = name.as_str().and_then(|name| method::defaults(name, variant));
    let Some(typed) = typed else {
        let complaint = job_field::find("/method/type").and_then(|field| field.kind.complaint(&name));
        return Err(vec![FieldError::new("/method/type", format!("`type` {}", complaint.unwrap_or_default()))]);
    };
    let value = to_value(&typed)?;
    Ok(MethodDefaults { typed, value })
}

/// Faults of recommended settings; a setting of another method is not a fault.
fn recommendation_faults(layer: &Recommended<'_>, method: &Value) -> Vec<FieldError> {
    let Value::Object(settings) = layer.settings else { return Vec::new() };
    let mut settings = settings.clone();
    if let Some(Value::Object(inner)) = settings.get_mut("method") {
        inner.retain(|name, _| method.get(name).is_some() || job_field::find(&format!("/method/{name}")).is_none());
    }
    let faults = check::faults(&settings, method).into_iter();
    faults
        .map(|fault| {
            FieldError::new(fault.pointer, format!("{} recommends a value that {}", layer.source, fault.detail))
        })
        .collect()
}

fn to_value<T: Serialize>(value: &T) -> Result<Value, Vec<FieldError>> {
    serde_json::to_value(value).map_err(|error| vec![FieldError::new("", error.to_string())])
}

/// A tree of settings in which every leaf knows its origin.
pub(super) struct Settled {
    value: Value,
    origins: BTreeMap<String, Origin>,
}

impl Settled {
    fn new(defaults: Value) -> Self {
        Self { value: defaults, origins: BTreeMap::new() }
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer)
    }

    fn origin(&self, pointer: &str) -> Origin {
        // The nearest ancestor that was replaced as a whole decides for everything below it.
        let mut end = pointer.len();
        loop {
            if let Some(origin) = self.origins.get(&pointer[..end]) {
                return *origin;
            }
            match pointer[..end].rfind('/') {
                Some(cut) if end > 0 => end = cut,
                _ => return Origin::Default,
            }
        }
    }

    fn set(&mut self, pointer: &str, value: Value, origin: Origin) {
        if let Some(slot) = self.value.pointer_mut(pointer) {
            *slot = value;
            self.origins.insert(pointer.to_owned(), origin);
        }
    }

    fn lay_over(&mut self, prefix: &str, layer: &Value, origin: Origin) {
        let Value::Object(fields) = layer else { return };
        for (name, value) in fields {
            let pointer = format!("{prefix}/{}", escape(name));
            let Some(present) = self.at(&pointer) else { continue };
            let section = job_field::find(&pointer).is_some_and(|field| field.kind == Kind::Section);
            if !section {
                self.set(&pointer, value.clone(), origin);
                continue;
            }
            match (present.is_null(), value.is_null()) {
                // A recommendation refines a section; only the request switches one on or off.
                (true, false) | (_, true) if origin == Origin::Recommended => {}
                (true, true) => {}
                (false, true) => self.set(&pointer, Value::Null, origin),
                (true, false) => {
                    self.set(&pointer, section_defaults(&pointer), Origin::Default);
                    self.lay_over(&pointer, value, origin);
                }
                (false, false) => self.lay_over(&pointer, value, origin),
            }
        }
    }

    fn leaf_origins(&self) -> BTreeMap<String, Origin> {
        let mut leaves = Vec::new();
        collect_leaves("", &self.value, &mut leaves);
        leaves.into_iter().map(|pointer| (pointer.clone(), self.origin(&pointer))).collect()
    }
}

/// What a section holds that its method leaves out, once a request switches it on.
fn section_defaults(pointer: &str) -> Value {
    match pointer {
        "/rollout/filter" => serde_json::to_value(defaults::filter()).unwrap_or_default(),
        "/early_stop" => serde_json::to_value(defaults::early_stop()).unwrap_or_default(),
        "/train/lora" => serde_json::to_value(defaults::lora()).unwrap_or_default(),
        _ => Value::Object(Map::new()),
    }
}

fn collect_leaves(prefix: &str, value: &Value, leaves: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, inner) in fields {
                collect_leaves(&format!("{prefix}/{}", escape(name)), inner, leaves);
            }
        }
        _ => leaves.push(prefix.to_owned()),
    }
}

#[cfg(test)]
mod tests;
