//! Rules between settings: what follows from another value, and what two values may not be together.

use serde_json::Value;

use super::defaults::FOREIGN_CORRECTION_CAP;
use super::{Origin, Settled, engine};
use crate::domain::field_error::FieldError;
use crate::domain::job_field::{self, MethodFault};
use crate::domain::method::Method;
use crate::domain::metric::{Better, describe};
use crate::domain::spec::{DeviceClass, JobSpec, TrainedParameters};
use crate::domain::weights::WeightFormat;

/// Values that follow a stronger neighbour, so that setting one of them is enough.
pub(super) fn follow(tree: &mut Settled) {
    let (steps, mini) = ("/batch/prompts_per_step", "/batch/minibatch_prompts");
    if tree.origin(steps) > tree.origin(mini) {
        let prompts = tree.at(steps).cloned().unwrap_or(Value::Null);
        tree.set(mini, prompts, Origin::Default);
    }
    // Another program's sampler never has quite the trainer's probabilities.
    let cap = "/rollout/correction_cap";
    if tree.at("/rollout/engine/type").is_some_and(|kind| kind != "local") && tree.origin(cap) == Origin::Default {
        tree.set(cap, FOREIGN_CORRECTION_CAP.into(), Origin::Default);
    }
    for section in ["/best", "/early_stop"] {
        let (metric, better) = (format!("{section}/metric"), format!("{section}/better"));
        if tree.origin(&metric) > tree.origin(&better)
            && let Some(direction) = tree.at(&metric).and_then(Value::as_str).and_then(direction)
        {
            tree.set(&better, direction.into(), Origin::Default);
        }
    }
}

/// Which way a metric gets better, by the catalogue; none where neither is good in itself.
fn direction(metric: &str) -> Option<&'static str> {
    match describe(metric)?.better {
        Better::Higher => Some("higher"),
        Better::Lower => Some("lower"),
        Better::Neutral => None,
    }
}

/// A fault between the settings of a method.
pub(super) fn method_fault(method: &Method) -> Option<FieldError> {
    let MethodFault { field, value, allowed } = job_field::method_fault(method)?;
    Some(FieldError::new(format!("/method/{field}"), format!("`{field}` is {value}; it must be {allowed}")))
}

/// Faults between resolved values.
pub(super) fn faults(spec: &JobSpec) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = method_fault(&spec.method).into_iter().chain(engine::faults(spec)).collect();
    let mut fault = |bad: bool, pointer: &str, detail: String| {
        if bad {
            errors.push(FieldError::new(pointer, detail));
        }
    };
    let rl = spec.method.is_reinforcement();
    fault(
        rl && spec.rollout.group_size < 2,
        "/rollout/group_size",
        format!(
            "`group_size` is {}; method `{}` compares the responses of a group: it must be at least 2",
            spec.rollout.group_size,
            spec.method.name()
        ),
    );
    let (prompts, mini) = (spec.batch.prompts_per_step, spec.batch.minibatch_prompts);
    fault(
        mini > prompts || prompts % mini.max(1) != 0,
        "/batch/minibatch_prompts",
        format!(
            "`minibatch_prompts` is {mini}; it must divide `prompts_per_step` ({prompts}); leave it out for one update \
            a step"
        ),
    );
    if let (Some(min), Some(max)) = (spec.data.min_pixels, spec.data.max_pixels) {
        fault(min > max, "/data/min_pixels", format!("`min_pixels` is {min}, above `max_pixels` ({max}); lower it"));
    }
    if let Some(filter) = &spec.rollout.filter {
        fault(
            filter.low >= filter.high,
            "/rollout/filter/low",
            format!("`low` is {}; it must be below `high` ({}), else every group is dropped", filter.low, filter.high),
        );
    }
    let lora = spec.train.parameters == TrainedParameters::Lora;
    fault(
        lora != spec.train.lora.is_some(),
        "/train/lora",
        if lora {
            "`lora` is null, but `parameters` is \"lora\": leave `lora` out for its defaults".to_owned()
        } else {
            "`lora` is set, but `parameters` is \"full\": set `parameters` to \"lora\", or leave `lora` out".to_owned()
        },
    );
    let base = base_fault(spec);
    fault(base.is_some(), "/train/base", base.unwrap_or_default());
    let dropout = spec.train.lora.as_ref().map_or(0.0, |lora| lora.dropout);
    fault(
        dropout > 0.0,
        "/train/lora/dropout",
        format!(
            "`dropout` is {dropout}; an update compares log-probs with those of the pass before it, which random gaps \
             would change: only 0 is supported"
        ),
    );
    fault(
        !spec.method.trains() && spec.eval_dataset.is_some(),
        "/eval_dataset",
        "method `eval` evaluates `dataset`; name the data set there and leave `eval_dataset` out".to_owned(),
    );
    fault(
        spec.eval.samples > 1 && spec.eval.temperature <= 0.0,
        "/eval/temperature",
        format!(
            "`temperature` is 0, at which all {} `samples` of a row are the same; set it above 0, e.g. to 1.0, or \
            `samples` to 1",
            spec.eval.samples
        ),
    );
    fault(
        spec.resources.devices > 1,
        "/resources/devices",
        format!(
            "`devices` is {}; a process trains on one device: set it to 1, and `ranks` to the number of devices",
            spec.resources.devices
        ),
    );
    errors
}

/// What is wrong with a base in fewer bits.
fn base_fault(spec: &JobSpec) -> Option<String> {
    let base = spec.train.base;
    let reason = match (base, spec.train.parameters, spec.resources.device) {
        (WeightFormat::Native, _, _) => return None,
        (_, TrainedParameters::Full, _) => {
            "but all weights are trained, which needs them in full: set `parameters` to \"lora\""
        }
        (_, _, DeviceClass::Cuda | DeviceClass::Metal) => {
            "which has a gradient on a CPU only: set `resources.device` to \"cpu\""
        }
        _ => return None,
    };
    Some(format!("`base` is \"{}\", {reason}, or leave `base` out", base.name()))
}
