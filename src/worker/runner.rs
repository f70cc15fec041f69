//! The interface between worker and trainer.

use std::path::PathBuf;

use crate::domain::job::Job;
use crate::domain::spec::JobSpec;
use crate::train::sink::{ResumePoint, RunSink};

/// Runs one attempt of a job. Called on a thread with a large stack; a panic counts as a transient error.
pub trait JobRunner: Send + Sync {
    /// Runs until the job is finished or `sink.control()` asks otherwise.
    fn run(&self, task: &JobTask, sink: &mut dyn RunSink) -> Result<RunEnd, RunnerError>;
}

/// One attempt of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobTask {
    /// The job as it was claimed.
    pub job: Job,
    /// Its settings.
    pub spec: JobSpec,
    /// Where to resume; none: start from the beginning.
    pub resume: Option<ResumePoint>,
    /// An empty folder for this attempt alone, on the file system of the artifacts; removed afterwards.
    pub work_dir: PathBuf,
}

/// How a trainer ended without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// All steps are done, or the run stopped early, and the last checkpoint was handed over.
    Finished {
        /// Why it ended, for display.
        reason: String,
    },
    /// Stopped on request, after a checkpoint.
    Yielded,
    /// Stopped on request, without saving.
    Cancelled,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunnerError {
    /// Another attempt would fail the same way: a wrong setting, a row that cannot be used, a damaged model.
    #[error("{0}")]
    Permanent(String),
    /// Another attempt may succeed: a full disk, a lost connection, not enough memory.
    #[error("{0}")]
    Transient(String),
}
