//! The trainer: the loop, rollout, optimizer, checkpoints, evaluation. Knows neither HTTP nor SQL.
//!
//! Start reading at `examples/minimal_vgpo.rs`, then `trainer.rs` and `reinforcement.rs`, whose step reads like the
//! paper: `group.rs` holds its values, `step.rs` what it works with.

mod adamw;
mod ahead;
mod audit;
mod audit_metrics;
pub mod checkpoint;
mod correction;
mod early_stop;
pub mod engine;
mod engine_error;
pub mod error;
mod eval_job;
mod eval_loop;
mod eval_metrics;
mod eval_rows;
mod evaluation;
mod gather;
pub mod group;
mod layout;
pub mod learner;
mod metrics;
pub mod micro_batch;
mod model_files;
pub mod optimizer;
pub mod order;
pub mod parallel;
pub mod policy;
pub mod process_memory;
pub mod publication;
mod ranks;
mod reinforcement;
pub mod reporter;
pub mod rewards;
pub mod rollout;
mod samples;
mod sampling;
pub mod sink;
pub mod source;
mod step;
mod supervised;
pub mod train_sequence;
mod trainer;

use std::path::PathBuf;
use std::sync::Arc;

pub use engine_error::{Difference, EngineError};
pub use error::TrainError;

use crate::collective::{Collective, Solo};
use crate::data::Dataset;
use crate::domain::alert::NOT_FINITE;
use crate::domain::device::DeviceName;
use crate::domain::spec::{JobSpec, Method};
use crate::model::footprint::SamplingRoom;
use crate::model::lora::peft::BaseModel;
use crate::reward::Backends;

use engine::ForeignEngines;
use ranks::{RankSink, Ranks};
use sink::{ResumePoint, RunSink};

/// Everything a run needs.
pub struct TrainRequest {
    /// The job.
    pub spec: JobSpec,
    /// The model to start from, a Hugging Face folder.
    pub model_dir: PathBuf,
    /// The base model that adapters name in their configuration; none: its folder.
    pub base: Option<BaseModel>,
    /// Where it is trained.
    pub device: DeviceName,
    /// The data set to train on (its `Train` split).
    pub dataset: Arc<dyn Dataset>,
    /// The data set to evaluate on (its `Eval` split).
    pub eval_dataset: Arc<dyn Dataset>,
    /// Folder for checkpoints on their way to the sink.
    pub work_dir: PathBuf,
    /// The run's id, which webhooks get.
    pub run: String,
    /// What rewards may call.
    pub rewards: Backends,
    /// Engines on other servers, for jobs that sample on one.
    pub engines: ForeignEngines,
    /// Where to resume, if the run has begun before.
    pub resume: Option<ResumePoint>,
    /// What sampling may use of the device's memory; none: unknown, so that the largest number of rows is decoded.
    pub room: Option<SamplingRoom>,
    /// The folders of the chunks that earlier attempts finished, in order (method `eval` only).
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
    /// Stopped on request after a checkpoint; the run may be resumed.
    Yielded,
    /// Cancelled on request; the run is not resumed.
    Cancelled,
}

/// Runs a job from its start, or from a checkpoint, to its end. Blocks; call it on a thread of its own.
pub fn run(request: TrainRequest, sink: &mut dyn RunSink) -> Result<RunEnd, TrainError> {
    run_on(request, sink, Arc::new(Solo))
}

/// An event for numbers that are not finite: the attempt ends, so no metric shows them.
fn tell_not_finite(error: &TrainError, sink: &mut dyn RunSink) {
    if error.is_not_finite()
        && let Err(failed) = sink.event(NOT_FINITE, &error.to_string(), serde_json::Value::Null)
    {
        tracing::warn!(error = %failed, "the event of a number that is not finite could not be written");
    }
}

/// The same as one of the ranks of `collective`, all of which call it with the same job. Only rank 0 uses its sink.
pub fn run_on(
    request: TrainRequest,
    sink: &mut dyn RunSink,
    collective: Arc<dyn Collective>,
) -> Result<RunEnd, TrainError> {
    let ranks = Arc::new(Ranks::open(collective, &request.spec)?);
    let mut sink = RankSink::new(&ranks, sink);
    let ended = match request.spec.method.clone() {
        Method::Eval(method) => eval_job::run(request, &method, &mut sink, &ranks),
        _ => trainer::Trainer::new(request, &mut sink, &ranks).and_then(trainer::Trainer::run),
    };
    match &ended {
        Err(error) => {
            tell_not_finite(error, &mut sink);
            ranks.fail(error);
        }
        // Everything has been handed over.
        Ok(_) => {
            if let Err(error) = ranks.close() {
                tracing::warn!(%error, "the ranks did not end together");
            }
        }
    }
    ended
}
