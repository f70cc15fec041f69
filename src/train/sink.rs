//! Where a trainer's output goes: the worker implements it over the store, a foreground command with a progress bar.

use std::fmt::{self, Debug, Formatter};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::domain::metric::StepMetrics;
use crate::domain::sample::SampleGroup;

use super::reporter::Reporter;

/// What a running trainer is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Continue training.
    Continue,
    /// Write a checkpoint and stop; the job may be resumed.
    Yield,
    /// Stop now.
    Cancel,
}

impl Control {
    /// Continues, or breaks with what was asked.
    pub fn flow(self) -> ControlFlow<Self> {
        if self == Self::Continue { ControlFlow::Continue(()) } else { ControlFlow::Break(self) }
    }
}

/// What a running trainer is asked to do, told to any thread at any time: a phase of a large model takes minutes.
#[derive(Clone)]
pub struct ControlSignal(Arc<dyn Fn() -> Control + Send + Sync>);

impl ControlSignal {
    /// `now` is asked often, and should answer at once.
    pub fn new(now: impl Fn() -> Control + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What is asked now.
    pub fn now(&self) -> Control {
        self.0()
    }
}

impl Default for ControlSignal {
    fn default() -> Self {
        Self::new(|| Control::Continue)
    }
}

impl Debug for ControlSignal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ControlSignal({:?})", self.now())
    }
}

/// A complete checkpoint in a folder of its own.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointNotice<'a> {
    /// Steps done.
    pub step: u64,
    /// The folder: Hugging Face layout plus the trainer's state. The sink moves or copies it before it returns.
    pub dir: &'a Path,
    /// Held-out accuracy at this step, if it was evaluated.
    pub accuracy: Option<f64>,
    /// The value that the best checkpoint is chosen by, higher is better; none: not measured at this step.
    pub score: Option<f64>,
    /// Is it the last checkpoint of the run?
    pub last: bool,
}

/// The trainer cannot hand something over, e.g. because the lease was lost.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// Receives everything that a trainer produces. Called from the trainer's thread; may block.
pub trait RunSink: Send {
    /// Metrics of one step (several calls for a step have different keys).
    fn metrics(&mut self, metrics: &StepMetrics) -> Result<(), SinkError>;
    /// Sample rollouts of one step.
    fn samples(&mut self, step: u64, groups: &[SampleGroup]) -> Result<(), SinkError>;
    /// An event of the run: `kind` is a stable name such as `warning.constant_reward`.
    fn event(&mut self, kind: &str, message: &str, data: serde_json::Value) -> Result<(), SinkError>;
    /// A complete checkpoint was written.
    fn checkpoint(&mut self, notice: CheckpointNotice<'_>) -> Result<(), SinkError>;
    /// A finished chunk of an evaluation: `dir` holds its rows
    /// ([`ROWS_FILE`](crate::domain::eval_row::ROWS_FILE)). The sink moves the folder before it returns; a chunk that
    /// it has already stays as it is.
    fn rows(&mut self, chunk: u64, dir: &Path) -> Result<(), SinkError>;
    /// A run that trains was evaluated: `dir` holds the rows of step `step`, as with [`rows`](Self::rows). The sink
    /// moves the folder or, as it does by itself, removes it.
    fn evaluated(&mut self, step: u64, dir: &Path) -> Result<(), SinkError> {
        std::fs::remove_dir_all(dir)
            .map_err(|error| SinkError(format!("cannot remove the rows of step {step} in {}: {error}", dir.display())))
    }
    /// Asked between phases (several times a step).
    fn control(&mut self) -> Control;
    /// The same within phases: an unfinished rollout or evaluation is given up when the trainer is to stop, an update
    /// when it is cancelled.
    fn signal(&self) -> ControlSignal {
        ControlSignal::default()
    }
    /// What may take long begins.
    fn progress(&mut self, _message: &str) {}
    /// Told by any thread, from within steps and evaluations that take long.
    fn reporter(&self) -> Reporter {
        Reporter::default()
    }
}

/// From where a run resumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePoint {
    /// Folder of the newest complete checkpoint of the run.
    pub dir: std::path::PathBuf,
    /// Its step.
    pub step: u64,
}
