//! Errors of the similarity room.

use std::path::Path;

use crate::model::ModelError;
use crate::reward::RewardError;

/// A checkpoint that cannot be used, or a pair that cannot be scored.
#[derive(Debug, thiserror::Error)]
pub(super) enum SimilarityError {
    /// A file of the checkpoint cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the checkpoint has unsupported content.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: String,
        /// The problem and its solution.
        problem: String,
    },
    /// The weights' files, or the device.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A picture or a text that cannot be scored.
    #[error("{0}")]
    Input(String),
}

impl SimilarityError {
    /// A file that cannot be read.
    pub(super) fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }

    /// An error in a file's content.
    pub(super) fn content(path: &Path, problem: impl Into<String>) -> Self {
        Self::Content { path: path.display().to_string(), problem: problem.into() }
    }
}

impl From<SimilarityError> for RewardError {
    fn from(error: SimilarityError) -> Self {
        Self::ImageText(error.to_string())
    }
}
