//! Errors that end a training run.

use std::path::Path;

use crate::algorithm::AlgorithmError;
use crate::collective::CollectiveError;
use crate::data::DataError;
use crate::model::ModelError;
use crate::prompt::PromptError;
use crate::reward::RewardError;

use super::engine_error::EngineError;
use super::sink::{Control, SinkError};

/// An error of the trainer.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model cannot be loaded or run.
    #[error("model: {0}")]
    Model(#[from] ModelError),
    /// A row cannot be turned into a prompt.
    #[error("{place} (data set `{dataset}`): {source}")]
    Prompt {
        /// The data set.
        dataset: String,
        /// The row, in words.
        place: String,
        /// Why.
        source: PromptError,
    },
    /// The model folder's tokenizer, template or image processor, or the job's prompt template.
    #[error("prompt settings: {0}")]
    PromptSettings(PromptError),
    /// A row cannot be read.
    #[error("data: {0}")]
    Data(#[from] DataError),
    /// The reward cannot be built, or failed on a batch.
    #[error("reward: {0}")]
    Reward(#[from] RewardError),
    /// The engine that samples.
    #[error("rollout: {0}")]
    Engine(#[from] EngineError),
    /// The objective refused its input.
    #[error("objective: {0}")]
    Algorithm(#[from] AlgorithmError),
    /// A setting that cannot work with this model or data set.
    #[error("`{field}`: {problem}")]
    Setting {
        /// The job's field.
        field: &'static str,
        /// What is wrong, and how to fix it.
        problem: String,
    },
    /// A file could not be written or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A checkpoint that cannot be resumed from.
    #[error("checkpoint {path}: {problem}")]
    Checkpoint {
        /// The folder.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// Weights or gradients are no longer finite.
    #[error("step {step}: the gradient is not finite; lower `optimizer.learning_rate` or `optimizer.max_grad_norm`")]
    Diverged {
        /// The step.
        step: u64,
    },
    /// The sink failed.
    #[error("{0}")]
    Sink(#[from] SinkError),
    /// A phase was given up because the run is to stop.
    #[error("the run was asked to stop")]
    Stopped(Control),
    /// The ranks of the run cannot work together any more.
    #[error("{0}")]
    Ranks(#[from] CollectiveError),
    /// A compute thread died.
    #[error("a compute thread failed: {0}")]
    Thread(String),
}

impl TrainError {
    /// Is a gradient, a logit or a log-prob no finite number?
    pub fn is_not_finite(&self) -> bool {
        matches!(self, Self::Diverged { .. } | Self::Model(ModelError::NotFinite(_)))
    }

    /// Would a second attempt end the same way?
    pub fn is_permanent(&self) -> bool {
        match self {
            // Another worker may have the device.
            Self::File { .. }
            | Self::Sink(_)
            | Self::Stopped(_)
            | Self::Thread(_)
            | Self::Model(ModelError::Device { .. }) => false,
            Self::Reward(error) => !error.may_pass(),
            Self::Engine(error) => !error.may_pass(),
            Self::Ranks(error) => error.is_permanent(),
            _ => true,
        }
    }
}

/// Adds the path to an I/O error.
pub(crate) fn file_error(path: &Path) -> impl Fn(std::io::Error) -> TrainError + '_ {
    move |source| TrainError::File { path: path.display().to_string(), source }
}

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}
