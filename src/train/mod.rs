//! The trainer: the loop, rollout, optimizer, checkpoints, evaluation. Knows neither HTTP nor SQL.
//!
//! Start reading at `examples/minimal_vgpo.rs`, then `trainer.rs` and `reinforcement.rs`, whose step reads like the
//! paper: `group.rs` holds its values, `step.rs` what it works with.

mod adamw;
pub mod checkpoint;
mod correction;
pub mod error;
mod evaluate;
mod evaluation;
mod gather;
pub mod group;
pub mod judge;
mod layout;
pub mod learner;
pub mod memory;
mod metrics;
pub mod micro_batch;
pub mod optimizer;
pub mod order;
pub mod parallel;
pub mod policy;
mod reinforcement;
pub mod rollout;
mod samples;
pub mod sink;
pub mod source;
mod statistics;
mod step;
mod stopping;
mod supervised;
mod tally;
pub mod train_row;
mod trainer;

use std::path::PathBuf;
use std::sync::Arc;

pub use error::TrainError;

use crate::data::Dataset;
use crate::domain::device::DeviceName;
use crate::domain::spec::{JobSpec, Method};
use crate::model::lora::peft::BaseModel;
use crate::reward::Backends;

use sink::{ResumePoint, RunSink};

/// Everything a run needs.
pub struct TrainRequest {
    /// The job.
    pub spec: JobSpec,
    /// The model to start from, a Hugging Face folder.
    pub model_dir: PathBuf,
    /// What adapters over it are said to belong to; none: its folder.
    pub base: Option<BaseModel>,
    /// Where it is trained.
    pub device: DeviceName,
    /// The data set to train on (its `Train` split).
    pub dataset: Arc<dyn Dataset>,
    /// The data set to evaluate on (its `Eval` split).
    pub eval_dataset: Arc<dyn Dataset>,
    /// Folder for checkpoints on their way to the sink.
    pub work_dir: PathBuf,
    /// Names the run, for those who are asked about it.
    pub run: String,
    /// What rewards may ask.
    pub rewards: Backends,
    /// Where to go on, if the run has begun before.
    pub resume: Option<ResumePoint>,
    /// The folders of the chunks that an evaluation has finished before, in order (method `eval` only).
    pub rows: Vec<PathBuf>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEnd {
    /// All steps are done, or early stopping ended the run.
    Finished {
        /// Held-out accuracy of the last evaluation, if any was measured.
        accuracy: Option<f64>,
        /// Why the run ended before its last step, if it did.
        stopped_early: Option<String>,
    },
    /// Stopped on request behind a checkpoint; the run may be resumed.
    Yielded,
    /// Stopped on request for good.
    Cancelled,
}

/// Runs a job from its start, or from a checkpoint, to its end. Blocks; call it on a thread of its own.
pub fn run(request: TrainRequest, sink: &mut dyn RunSink) -> Result<RunEnd, TrainError> {
    match request.spec.method.clone() {
        Method::Eval(method) => evaluation::run(request, &method, sink),
        _ => trainer::Trainer::new(request, sink)?.run(),
    }
}
