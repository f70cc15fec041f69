//! The trainer: rollouts, gradients, resuming, learning.

mod evaluation;
mod evaluation_job;
mod fitting;
mod folders;
mod learner;
mod masked;
mod micro_batches;
mod minimal;
mod mixed;
#[cfg(feature = "mpi")]
pub mod mpi;
mod objectives;
mod ranks;
mod results;
mod resume;
mod rollouts;
mod scene;
mod transfers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use candle_core::Device;
use serde_json::{Value, json};
use vgpo::config::job::{self, Recommended};
use vgpo::data::Split;
use vgpo::domain::device::DeviceName;
use vgpo::domain::eval_row::{EvalRow, ROWS_FILE};
use vgpo::domain::metric::StepMetrics;
use vgpo::domain::sample::SampleGroup;
use vgpo::domain::spec::JobSpec;
use vgpo::model::{ModelFolder, ModelInfo};
use vgpo::prompt::Processor;
use vgpo::train::sink::{CheckpointNotice, Control, ControlSignal, ResumePoint, RunSink, SinkError};
use vgpo::train::source::{Prompt, PromptSource};
use vgpo::train::{RunEnd, TrainError, TrainRequest};

pub fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/starter")
}

pub fn open_starter() -> ModelFolder {
    ModelFolder::open(&starter(), &Device::Cpu).unwrap()
}

/// A small job on the starter: `changes` over settings that make a step take well under a second.
pub fn spec(changes: &Value) -> JobSpec {
    let card: Value = serde_json::from_str(&std::fs::read_to_string(starter().join("vgpo.json")).unwrap()).unwrap();
    let small = json!({
        "batch": { "prompts_per_step": 4, "minibatch_prompts": 4, "microbatch_tokens": 512 },
        "rollout": { "group_size": 4, "max_new_tokens": 40 },
        "steps": 2, "eval_before": false, "eval_every": 0, "eval_rows": 16, "checkpoint_every": 1,
        "log_samples_every": 1,
    });
    let mut request = json!({ "model": "starter", "dataset": "digits" });
    request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let layers = [
        Recommended { source: "the starter", settings: &card["recommended"] },
        Recommended { source: "the test", settings: &small },
    ];
    job::resolve(&request, &layers).unwrap().spec
}

/// Prompts of the digits task, rendered for the starter.
pub fn prompts(info: &ModelInfo, spec: &JobSpec, rows: std::ops::Range<u64>) -> (Vec<Prompt>, PromptSource) {
    let processor = Arc::new(Processor::from_dir(&starter(), info).unwrap());
    let dataset = vgpo::data::open("digits").unwrap();
    let source =
        PromptSource::new(processor, dataset, Split::Train, &spec.data, info, spec.rollout.max_new_tokens).unwrap();
    (rows.map(|row| source.prompt(row, row).unwrap().unwrap()).collect(), source)
}

/// What came with a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Notice {
    pub step: u64,
    pub accuracy: Option<f64>,
    pub score: Option<f64>,
    pub last: bool,
}

/// Keeps everything in memory and stops where it is told to.
#[derive(Default)]
pub struct Recorder {
    pub metrics: Vec<StepMetrics>,
    pub samples: Vec<(u64, SampleGroup)>,
    pub events: Vec<(String, String)>,
    pub checkpoints: Vec<(u64, PathBuf)>,
    pub notices: Vec<Notice>,
    /// Folders of finished chunks of an evaluation.
    pub rows: Vec<PathBuf>,
    /// Steps of evaluations with the rows of each.
    pub evaluations: Vec<(u64, Vec<EvalRow>)>,
    /// Answers to `control`, first to last; then `Continue`.
    pub controls: Vec<Control>,
    /// The answer from the end of this step on.
    pub stop_after: Option<(u64, Control)>,
    /// Whom webhook rewards ask.
    pub rewards: vgpo::reward::Backends,
    /// Engines on other servers.
    pub engines: vgpo::train::engine::ForeignEngines,
    /// A folder that vanishes at the first checkpoint, as retention may prune the one a run resumed from.
    pub prune: Option<PathBuf>,
    /// From the evaluation of this step on, the trainer is asked for this whenever it looks.
    pub stop_at: Option<(u64, Control)>,
    /// What it was told that begins.
    pub told: Vec<String>,
    asked: Arc<Mutex<Option<Control>>>,
}

impl RunSink for Recorder {
    fn metrics(&mut self, metrics: &StepMetrics) -> Result<(), SinkError> {
        self.metrics.push(metrics.clone());
        Ok(())
    }

    fn samples(&mut self, step: u64, groups: &[SampleGroup]) -> Result<(), SinkError> {
        self.samples.extend(groups.iter().map(|g| (step, g.clone())));
        Ok(())
    }

    fn event(&mut self, kind: &str, message: &str, _data: Value) -> Result<(), SinkError> {
        self.events.push((kind.to_owned(), message.to_owned()));
        Ok(())
    }

    fn checkpoint(&mut self, notice: CheckpointNotice<'_>) -> Result<(), SinkError> {
        self.checkpoints.push((notice.step, notice.dir.to_owned()));
        let CheckpointNotice { step, accuracy, score, last, .. } = notice;
        self.notices.push(Notice { step, accuracy, score, last });
        if let Some(dir) = self.prune.take() {
            std::fs::remove_dir_all(dir).unwrap();
        }
        Ok(())
    }

    fn rows(&mut self, chunk: u64, dir: &Path) -> Result<(), SinkError> {
        self.rows.push(dir.to_owned());
        assert_eq!(self.rows.len() as u64, chunk, "chunks come in order");
        Ok(())
    }

    fn evaluated(&mut self, step: u64, dir: &Path) -> Result<(), SinkError> {
        let text = std::fs::read_to_string(dir.join(ROWS_FILE)).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        self.evaluations.push((step, rows));
        std::fs::remove_dir_all(dir).unwrap();
        Ok(())
    }

    fn control(&mut self) -> Control {
        if let Some((step, control)) = self.stop_after
            && self.metrics.last().is_some_and(|metrics| metrics.step >= step)
        {
            return control;
        }
        if self.controls.is_empty() { self.signal().now() } else { self.controls.remove(0) }
    }

    fn signal(&self) -> ControlSignal {
        let asked = Arc::clone(&self.asked);
        ControlSignal::new(move || asked.lock().unwrap().unwrap_or(Control::Continue))
    }

    fn progress(&mut self, message: &str) {
        self.told.push(message.to_owned());
        if let Some((step, control)) = self.stop_at
            && message.starts_with(&format!("step {step}: evaluating"))
        {
            *self.asked.lock().unwrap() = Some(control);
        }
    }
}

impl Recorder {
    pub fn last(&self, key: &str) -> f64 {
        let found = self.metrics.iter().rev().find_map(|m| m.values.get(key));
        *found.unwrap_or_else(|| panic!("no metric {key}"))
    }
}

/// Runs a job in `dir`; on the large stack that backward passes need.
pub fn run(
    spec: &JobSpec,
    dir: &Path,
    resume: Option<ResumePoint>,
    recorder: &mut Recorder,
) -> Result<RunEnd, TrainError> {
    run_on(&starter(), spec, dir, resume, recorder)
}

/// The same with the model of another folder.
pub fn run_on(
    model_dir: &Path,
    spec: &JobSpec,
    dir: &Path,
    resume: Option<ResumePoint>,
    recorder: &mut Recorder,
) -> Result<RunEnd, TrainError> {
    let request = request(model_dir, spec, dir, resume, recorder);
    std::thread::scope(|scope| {
        let work = || vgpo::train::run(request, recorder);
        std::thread::Builder::new().stack_size(256 << 20).spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

/// What a run of `spec` in `dir` needs.
pub fn request(
    model_dir: &Path,
    spec: &JobSpec,
    dir: &Path,
    resume: Option<ResumePoint>,
    recorder: &mut Recorder,
) -> TrainRequest {
    let dataset = vgpo::data::open(&spec.dataset).unwrap();
    TrainRequest {
        room: None,
        run: "run_test".to_owned(),
        base: None,
        engines: std::mem::take(&mut recorder.engines),
        rewards: std::mem::take(&mut recorder.rewards),
        spec: spec.clone(),
        model_dir: model_dir.to_owned(),
        device: DeviceName::CPU,
        eval_dataset: Arc::clone(&dataset),
        dataset,
        work_dir: dir.to_owned(),
        resume,
        rows: recorder.rows.clone(),
    }
}

/// All weights of a checkpoint folder.
pub fn weights(dir: &Path) -> BTreeMap<String, Vec<f32>> {
    let tensors = candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu).unwrap();
    tensors.into_iter().map(|(k, t)| (k, t.flatten_all().unwrap().to_vec1().unwrap())).collect()
}
