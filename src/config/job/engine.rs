//! Rules for engines on other servers.

use crate::domain::field_error::FieldError;
use crate::domain::rollout_engine::WeightSync;
use crate::domain::spec::{EngineKind, JobSpec, TrainedParameters};

/// Faults of `rollout.engine`, alone and together with what is trained.
pub(super) fn faults(spec: &JobSpec) -> Vec<FieldError> {
    let engine = &spec.rollout.engine;
    let kind = engine.kind.name();
    let mut errors = Vec::new();
    let mut fault = |bad: bool, name: &str, detail: String| {
        if bad {
            errors.push(FieldError::new(format!("/rollout/engine/{name}"), detail));
        }
    };
    if engine.is_local() {
        fault(
            engine.urls.is_some(),
            "urls",
            "`urls` is set, but `type` is \"local\": set `type` to \"vllm\"".to_owned(),
        );
        fault(
            engine.staleness > 0,
            "staleness",
            format!(
                "`staleness` is {}; only servers elsewhere sample while an update computes: set it to 0",
                engine.staleness
            ),
        );
        return errors;
    }
    fault(
        !spec.method.is_reinforcement(),
        "type",
        format!("`type` is \"{kind}\", but method `{}` trains on no samples: leave it out", spec.method.name()),
    );
    fault(
        spec.resources.ranks > 1,
        "type",
        format!(
            "`type` is \"{kind}\", but the {} ranks of this job sample for themselves: set it to \"local\", or \
             `resources.ranks` to 1",
            spec.resources.ranks
        ),
    );
    fault(
        engine.urls.is_none(),
        "urls",
        format!("`urls` is required where `type` is \"{kind}\": addresses of servers, e.g. [\"http://gpu-1:8000\"]"),
    );
    fault(
        engine.shared_dir.is_none(),
        "shared_dir",
        format!(
            "`shared_dir` is required where `type` is \"{kind}\": a folder that the worker writes and every server \
             reads under the same path"
        ),
    );
    let path = engine.shared_dir.as_deref().unwrap_or("/");
    fault(!path.starts_with('/'), "shared_dir", format!("`shared_dir` is \"{path}\"; it must be an absolute path"));
    let full = spec.train.parameters == TrainedParameters::Full;
    fault(
        full && engine.sync == WeightSync::Adapter,
        "sync",
        "`sync` is \"adapter\", but all weights are trained: set `sync` to \"weights\", or `parameters` to \"lora\""
            .to_owned(),
    );
    fault(
        engine.kind == EngineKind::Sglang && engine.sync == WeightSync::Adapter,
        "sync",
        "`sync` is \"adapter\", which is not supported for \"sglang\": set it to \"weights\", or leave it out"
            .to_owned(),
    );
    errors
}
