//! The protocol between a server that forwards a request and the engine that answers it: the request as JSON, with
//! `model` resolved to an id and images as `data:` URLs; the answer is one [`Frame`] per line. An empty line is a
//! keep-alive.

use serde::{Deserialize, Serialize};

use super::ServingError;
use super::answer::{GenerateAnswer, ScoreAnswer, TokenEvent};
use super::engine::GenerateEvent;

/// Route for generations.
pub const GENERATE: &str = "/engine/generate";
/// Route for score requests.
pub const SCORE: &str = "/engine/score";

/// One line of an engine's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// The generation is in the queue.
    Accepted,
    /// A token of a stream.
    Token(Box<TokenEvent>),
    /// The end of a generation.
    Done(Box<GenerateAnswer>),
    /// The answer to a request for scores.
    Scored(Box<ScoreAnswer>),
    /// The request failed.
    Failed(ServingError),
}

impl From<GenerateEvent> for Frame {
    fn from(event: GenerateEvent) -> Self {
        match event {
            GenerateEvent::Token(token) => Self::Token(token),
            GenerateEvent::Done(answer) => Self::Done(answer),
            GenerateEvent::Failed(error) => Self::Failed(error),
        }
    }
}
