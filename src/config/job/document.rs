//! The documentation of every job setting: its range, its defaults, and the values of the paper and the released code.

use serde_json::{Map, Value, json};

use super::defaults::{early_stop, filter, job, lora};
use crate::config::method;
use crate::domain::job_field::FIELDS;
use crate::domain::kind::Kind;
use crate::domain::method::{NAMES, Variant};

/// One setting, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// JSON pointer of the field.
    pub pointer: &'static str,
    /// What it may hold.
    pub range: String,
    /// Its default by method, methods without the setting left out; empty where it is required.
    pub defaults: Vec<(&'static str, Value)>,
    /// The value of VGPO's paper; none: the paper has none.
    pub paper: Option<Value>,
    /// What the authors' released code sets, where `variant: released` takes that over.
    pub released: Option<Value>,
}

/// What VGPO's paper (arXiv 2604.09349) sets besides the method's own switches.
fn paper() -> [(&'static str, Value); 12] {
    [
        ("/rollout/group_size", json!(8)),
        ("/rollout/temperature", json!(1.0)),
        ("/rollout/max_new_tokens", json!(2048)),
        ("/rollout/filter/metric", json!("accuracy")),
        ("/rollout/filter/low", json!(0.01)),
        ("/rollout/filter/high", json!(0.99)),
        ("/batch/prompts_per_step", json!(512)),
        ("/batch/minibatch_prompts", json!(128)),
        ("/optimizer/learning_rate", json!(1e-6)),
        ("/optimizer/betas", json!([0.9, 0.999])),
        ("/optimizer/weight_decay", json!(0.01)),
        ("/optimizer/max_grad_norm", json!(1.0)),
    ]
}

/// Every setting but the sections that hold others.
pub fn describe() -> Vec<Described> {
    let by_method: Vec<(&str, Value)> = NAMES.iter().map(|name| (*name, defaults(name, Variant::Paper))).collect();
    let released = defaults(NAMES[0], Variant::Released);
    let fields = FIELDS.iter().filter(|field| field.kind != Kind::Section);
    let described = fields.map(|field| {
        let at = |settings: &Value| settings.pointer(field.pointer).cloned();
        let defaults = by_method.iter().filter_map(|(name, settings)| Some((*name, at(settings)?))).collect();
        let own = field.pointer.starts_with("/method/").then(|| at(&by_method[0].1)).flatten();
        let paper = paper().into_iter().find(|(pointer, _)| *pointer == field.pointer).map(|(_, value)| value).or(own);
        let released = field.pointer.starts_with("/method/").then(|| at(&released)).flatten();
        let null = if field.nullable { ", or null" } else { "" };
        Described { pointer: field.pointer, range: field.kind.describe() + null, defaults, paper, released }
    });
    described.collect()
}

/// The defaults of a whole job of a method. Optional sections show what they hold once a job has them.
fn defaults(name: &str, variant: Variant) -> Value {
    let settings = method::defaults(name, variant).map(|method| job(method, "", ""));
    let mut settings = serde_json::to_value(settings).unwrap_or_default();
    for (section, holds) in
        [("rollout/filter", json!(filter())), ("train/lora", json!(lora())), ("early_stop", json!(early_stop()))]
    {
        if let Some(at) = settings.pointer_mut(&format!("/{section}")).filter(|at| at.is_null()) {
            *at = holds;
        }
    }
    if let Some(map) = settings.as_object_mut() {
        required(map);
    }
    settings
}

/// These have no default.
fn required(settings: &mut Map<String, Value>) {
    for name in ["name", "model", "dataset"] {
        settings.remove(name);
    }
}
