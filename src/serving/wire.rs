//! What travels between a server that forwards a request and the engine that answers it: the request as JSON, in which
//! `model` is an id that needs no resolving and images are `data:` URLs; then one [`Frame`] a line. An empty line says that
//! the engine is alive and has nothing to tell yet.

use serde::{Deserialize, Serialize};

use super::ServingError;
use super::answer::{GenerateAnswer, ScoreAnswer, TokenEvent};
use super::engine::GenerateEvent;

/// Where an engine takes generations.
pub const GENERATE: &str = "/engine/generate";
/// Where an engine takes scores.
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
    /// There will be no answer.
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
