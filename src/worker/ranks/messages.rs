//! What worker and rank 0 tell each other, a line of JSON each.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::DatasetSource;
use crate::domain::metric::StepMetrics;
use crate::domain::sample::SampleGroup;
use crate::domain::spec::JobSpec;
use crate::train::sink::Control;
use crate::worker::runner::{RunEnd, RunnerError};

/// What the ranks of an attempt have to do: a file that each of them reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RankPlan {
    /// The job.
    pub spec: JobSpec,
    /// The model to start from.
    pub model_dir: PathBuf,
    /// Name and revision of the base model that adapters name.
    pub base: Option<(String, Option<String>)>,
    /// The first device of a host: ranks take one each.
    pub device: String,
    /// The rows to train on.
    pub dataset: DatasetSource,
    /// The rows to evaluate on; none: those of the same data set.
    pub eval_dataset: Option<DatasetSource>,
    /// Folder for checkpoints.
    pub work_dir: PathBuf,
    /// The run's id.
    pub run: String,
    /// Folder and step of the checkpoint to resume from.
    pub resume: Option<(PathBuf, u64)>,
    /// Folders of the finished chunks of an evaluation.
    pub rows: Vec<PathBuf>,
}

/// What rank 0 says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub(super) enum Said {
    /// Metrics of a step.
    Metrics { step: u64, samples: u64, tokens: u64, values: BTreeMap<String, Option<f64>> },
    /// Sample rollouts of a step.
    Samples { step: u64, groups: Vec<SampleGroup> },
    /// An event of the run.
    Event { kind: String, message: String, data: serde_json::Value },
    /// A complete checkpoint.
    Checkpoint { step: u64, dir: PathBuf, accuracy: Option<f64>, score: Option<f64>, last: bool },
    /// A finished chunk of an evaluation.
    Rows { chunk: u64, dir: PathBuf },
    /// The rows of an evaluation at a step.
    Evaluated { step: u64, dir: PathBuf },
    /// What may take long begins.
    Progress { message: String },
    /// Is anything asked of the run?
    Control,
    /// The run has ended; nothing follows.
    Ended(Ended),
}

/// How a run over ranks ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    Finished { stopped_early: Option<String> },
    Yielded,
    Cancelled,
    Failed { message: String, permanent: bool },
}

impl Ended {
    /// The same as the worker tells it.
    pub(super) fn result(self) -> Result<RunEnd, RunnerError> {
        match self {
            Self::Finished { stopped_early } => {
                let reason = stopped_early.map_or_else(|| "finished".to_owned(), |why| format!("stopped early: {why}"));
                Ok(RunEnd::Finished { reason })
            }
            Self::Yielded => Ok(RunEnd::Yielded),
            Self::Cancelled => Ok(RunEnd::Cancelled),
            Self::Failed { message, permanent: true } => Err(RunnerError::Permanent(message)),
            Self::Failed { message, permanent: false } => Err(RunnerError::Transient(message)),
        }
    }
}

/// What the worker answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// It is stored.
    Done,
    /// It could not be stored.
    Failed(String),
    Continue,
    Yield,
    Cancel,
}

impl From<Control> for Answer {
    fn from(control: Control) -> Self {
        match control {
            Control::Continue => Self::Continue,
            Control::Yield => Self::Yield,
            Control::Cancel => Self::Cancel,
        }
    }
}

impl From<&StepMetrics> for Said {
    /// JSON has no numbers that are not finite: they travel as null.
    fn from(metrics: &StepMetrics) -> Self {
        let values = metrics.values.iter().map(|(key, value)| (key.clone(), value.is_finite().then_some(*value)));
        let StepMetrics { step, samples, tokens, .. } = *metrics;
        Self::Metrics { step, samples, tokens, values: values.collect() }
    }
}
