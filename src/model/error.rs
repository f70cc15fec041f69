//! Errors of the model room.

/// An error of the model room.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A file of the model's folder cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The folder's configuration is not supported.
    #[error("{path}: {problem}")]
    Config {
        /// The file.
        path: String,
        /// The problem and its solution.
        problem: String,
    },
    /// A weight is missing or has a wrong shape.
    #[error("weight `{name}` {problem}")]
    Weight {
        /// Name in the checkpoint.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A LoRA target that matches no layer.
    #[error("`{target}` does not match any linear layer that can have an adapter; available: {known}")]
    Target {
        /// The target.
        target: String,
        /// Endings that name layers.
        known: String,
    },
    /// A device that is not available.
    #[error("device `{device}`: {problem}")]
    Device {
        /// Its name.
        device: String,
        /// Why, and the way out.
        problem: String,
    },
    /// The model computed values that are not finite.
    #[error(
        "the model's {0} are not finite numbers (NaN or infinite): its weights are broken, or too large for its number format; \
         take an earlier checkpoint"
    )]
    NotFinite(&'static str),
    /// Inputs that do not fit together or do not fit the model.
    #[error("{0}")]
    Input(String),
}
