//! Whole steps of reinforcement learning by the trainer itself: rollout, reward, log-probs under the old policy,
//! update.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::policy::PolicySettings;
use super::reference::NoiseDataset;
use super::shape::BatchShape;
use super::{BenchError, Memory, Phases, Seconds, Watch};
use crate::domain::device::DeviceName;
use crate::domain::metric::StepMetrics;
use crate::domain::sample::SampleGroup;
use crate::reward::Backends;
use crate::train::engine::ForeignEngines;
use crate::train::sink::{CheckpointNotice, Control, RunSink, SinkError};
use crate::train::{self, TrainRequest};

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Prompts and responses of a step.
    pub batch: BatchShape,
    /// What is trained.
    pub policy: PolicySettings,
    /// The method, e.g. `grpo`.
    pub method: String,
    /// Timed steps; one more warms up.
    pub repeats: usize,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The settings.
    pub settings: Settings,
    /// Tokens that a step samples.
    pub tokens: usize,
    /// Seconds of a step.
    pub seconds: Seconds,
    /// Sampled tokens over the median seconds.
    pub tokens_per_second: f64,
    /// Each phase's share of the time.
    pub shares: BTreeMap<&'static str, f64>,
    /// Memory of model, optimizer and steps.
    pub memory: Memory,
}

/// The phases of a step by the metric of their duration.
const PHASES: [(&str, &str); 4] = [
    ("time/rollout", "rollout"),
    ("time/reward", "reward"),
    ("time/logprob", "old log-probs"),
    ("time/update", "update"),
];

/// A sink that keeps only the durations of steps.
#[derive(Default)]
struct Times {
    seconds: Vec<f64>,
    phases: Phases,
    tokens: usize,
    sampled: u64,
}

impl RunSink for Times {
    fn metrics(&mut self, metrics: &StepMetrics) -> Result<(), SinkError> {
        let Some(seconds) = metrics.values.get("time/step") else { return Ok(()) };
        self.tokens = (metrics.tokens - self.sampled) as usize;
        self.sampled = metrics.tokens;
        if metrics.step > 1 {
            self.seconds.push(*seconds);
            for (key, phase) in PHASES {
                self.phases.add(phase, metrics.values.get(key).copied().unwrap_or(0.0));
            }
        }
        Ok(())
    }

    fn samples(&mut self, _: u64, _: &[SampleGroup]) -> Result<(), SinkError> {
        Ok(())
    }

    fn event(&mut self, _: &str, _: &str, _: serde_json::Value) -> Result<(), SinkError> {
        Ok(())
    }

    fn checkpoint(&mut self, _: CheckpointNotice<'_>) -> Result<(), SinkError> {
        Ok(())
    }

    fn rows(&mut self, _: u64, _: &Path) -> Result<(), SinkError> {
        Ok(())
    }

    fn control(&mut self) -> Control {
        Control::Continue
    }
}

/// Measures steps of the model in `dir`; checkpoints go to `work_dir`. Blocks.
pub fn run(dir: &Path, work_dir: &Path, settings: Settings) -> Result<Report, BenchError> {
    let mut spec = settings.policy.spec(&settings.method, &settings.batch)?;
    spec.steps = settings.repeats as u64 + 1;
    spec.eval_before = false;
    spec.log_samples_every = 0;
    spec.checkpoint_every = 0;
    // The filter would drop all synthetic groups.
    spec.rollout.filter = None;
    let dataset = Arc::new(NoiseDataset::new(&settings.batch));
    let watch = Watch::start();
    let mut times = Times::default();
    let request = TrainRequest {
        room: None,
        spec,
        model_dir: dir.to_owned(),
        device: DeviceName::CPU,
        dataset: Arc::clone(&dataset) as Arc<dyn crate::data::Dataset>,
        eval_dataset: dataset,
        work_dir: work_dir.to_owned(),
        run: "bench".to_owned(),
        base: None,
        rewards: Backends::default(),
        engines: ForeignEngines::default(),
        resume: None,
        rows: Vec::new(),
    };
    train::run(request, &mut times)?;
    let Times { seconds, phases, tokens, .. } = times;
    let seconds = Seconds::of(seconds);
    Ok(Report {
        tokens,
        tokens_per_second: tokens as f64 / seconds.median,
        seconds,
        shares: phases.shares(),
        memory: watch.end(),
        settings,
    })
}
