//! Rollouts on other servers: training through them, and what happens when they fail.

mod ahead;
mod faults;
mod refusals;
mod sglang;
mod stub;
mod training;
mod weights;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use vgpo::config::app::{AppSettings, Sources};
use vgpo::domain::spec::JobSpec;
use vgpo::samplers::Samplers;
use vgpo::train::engine::ForeignEngines;
use vgpo::train::{RunEnd, TrainError};

use crate::http::support::Api;
use crate::train::{Recorder, run, spec};

/// The attempt that publishes.
pub const ATTEMPT: &str = "job_test-1";

/// Engines at the given addresses, which the settings list.
pub fn engines(urls: &[String]) -> ForeignEngines {
    let hosts: Vec<&str> = urls.iter().map(|url| url.trim_start_matches("http://")).collect();
    let flags = [("rollout_hosts", hosts.join(","))];
    let settings = AppSettings::load(&Sources { flags: &flags, environment: &|_| None, file: None }).unwrap();
    ForeignEngines { opener: Some(Samplers::of(&settings)), attempt: ATTEMPT.to_owned() }
}

/// A server of this program that serves the starter and adapters below `shared`.
pub async fn server(shared: &Path) -> Api {
    Api::with(&[("model_roots", shared.to_str().unwrap()), ("engine_loaded_models", "2")]).await
}

/// A job of a few short steps that samples on `urls`. Its learning rate is high enough for weights to differ from step
/// to step by far more than rounding.
pub fn job(urls: &[String], shared: &Path, more: &Value) -> JobSpec {
    let mut job = json!({
        "steps": 2,
        "checkpoint_every": 0,
        "batch": { "prompts_per_step": 2, "minibatch_prompts": 2 },
        "optimizer": { "learning_rate": 0.03, "warmup_steps": 0 },
        // Something in it differs between responses, so that every step moves the weights.
        "reward": { "type": "weighted", "parts": [
            { "weight": 0.4, "reward": { "type": "math" } },
            { "weight": 0.3, "reward": { "type": "regex", "pattern": "[0-4]" } },
            { "weight": 0.2, "reward": { "type": "regex", "pattern": "right" } },
            { "weight": 0.1, "reward": { "type": "regex", "pattern": "[5-9]" } },
        ] },
        "train": { "parameters": "lora", "lora": { "targets": ["q_proj", "v_proj"] } },
        "rollout": { "group_size": 4, "max_new_tokens": 24, "filter": null, "engine": {
            "type": "vllm", "urls": urls, "model": "starter", "shared_dir": shared, "timeout_seconds": 20.0,
            "patience_seconds": 20.0,
        } },
    });
    merge(&mut job, more);
    spec(&job)
}

/// Lays one tree of settings over another.
pub fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

/// Trains away from the test's runtime, as a worker does.
pub async fn train(spec: JobSpec, recorder: Recorder) -> (Result<RunEnd, TrainError>, Recorder) {
    let work = move || {
        let (mut recorder, dir) = (recorder, tempfile::tempdir().unwrap());
        let end = run(&spec, dir.path(), None, &mut recorder);
        (end, recorder)
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A recorder with engines at the given addresses.
pub fn recorder(urls: &[String]) -> Recorder {
    let mut recorder = Recorder::default();
    recorder.engines = engines(urls);
    recorder
}

/// Why a run failed, and whether another attempt would be of use.
pub fn failure(end: Result<RunEnd, TrainError>) -> (String, bool) {
    let error = end.expect_err("it must fail");
    (error.to_string(), !error.is_permanent())
}

/// The values of a metric, step by step.
pub fn values(recorder: &Recorder, key: &str) -> Vec<f64> {
    recorder.metrics.iter().filter_map(|metrics| metrics.values.get(key).copied()).collect()
}

/// Everything in the folder is gone.
pub fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// A place for weights.
pub fn shared() -> Arc<tempfile::TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}
