//! Errors of the serving room.

use serde::{Deserialize, Serialize};

use crate::domain::field_error::FieldError;
use crate::model::ModelError;
use crate::prompt::PromptError;

/// An error of the serving room; the variants tell whose fault it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ServingError {
    /// The request is at fault: every bad field by name.
    #[error("{}", list(.0))]
    Invalid(Vec<FieldError>),
    /// The model's folder cannot be served.
    #[error("model `{model}` cannot be loaded: {problem}")]
    ModelFolder {
        /// The model.
        model: String,
        /// What is wrong in its folder.
        problem: String,
    },
    /// Too many requests are waiting.
    #[error(
        "{waiting} requests are already waiting for model `{model}`, which is the limit: try again in {retry_after} s"
    )]
    Overloaded {
        /// The model.
        model: String,
        /// The limit of waiting requests.
        waiting: usize,
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// The token budget of the accepted requests is used up.
    #[error(
        "the requests in progress for model `{model}` may take {taken} tokens and this one {tokens}, together more \
         than the limit (max_queued_tokens) of {limit}: try again in {retry_after} s, or ask for fewer or shorter \
         responses"
    )]
    Saturated {
        /// The model.
        model: String,
        /// Tokens of the requests in progress.
        taken: usize,
        /// Tokens of this request.
        tokens: usize,
        /// The limit.
        limit: usize,
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// The engine was stopped, or the model unloaded, before the request was done.
    #[error("the engine stopped before the request was done: send it again")]
    Stopped,
    /// This server has no engine, and no registered engine is available.
    #[error("{}", absent(*.tried))]
    NoEngine {
        /// Number of engines that were tried.
        tried: usize,
    },
    /// The engine failed; the request may be fine.
    #[error("the engine failed on this request: {0}")]
    Engine(String),
}

impl ServingError {
    /// One bad field.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(pointer, detail)])
    }

    /// An error of the prompt room about `pointer`; errors of the model's folder keep their own kind.
    pub(crate) fn of_prompt(error: &PromptError, pointer: &str, model: &str) -> Self {
        if error.is_input() {
            return Self::field(pointer, error.to_string());
        }
        Self::ModelFolder { model: model.to_owned(), problem: error.to_string() }
    }
}

impl From<ModelError> for ServingError {
    fn from(error: ModelError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<candle_core::Error> for ServingError {
    fn from(error: candle_core::Error) -> Self {
        Self::Engine(error.to_string())
    }
}

fn absent(tried: usize) -> String {
    if tried == 0 {
        return "this server forwards to engines on other servers, and none is registered: start one with `vgpo serve \
                --roles engine` on the same database"
            .to_owned();
    }
    format!(
        "none of the {tried} registered engines answers: check their logs, and that their `advertise` address is \
        reachable"
    )
}

fn list(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
