//! Input and output of the compute thread.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::admission::TokenClaim;
use crate::clock::Stopwatch;
use crate::serving::ServingError;
use crate::serving::answer::{FinishReason, Shares, Timings};
use crate::serving::attention_capture::CapturePlan;
use crate::serving::engine::CancelFlag;
use crate::serving::prepare::PreparedPrompt;

/// Work for a model.
pub enum Job {
    /// Generate responses.
    Generate(Box<GenerateJob>),
    /// Score responses.
    Score(Box<ScoreJob>),
}

/// A generation.
pub struct GenerateJob {
    /// The prompt.
    pub prompt: Arc<PreparedPrompt>,
    /// How to sample.
    pub sampling: Sampling,
    /// What to capture of the attention.
    pub plan: CapturePlan,
    /// Receiver of the events.
    pub events: mpsc::UnboundedSender<RawEvent>,
    /// Raised when the client has gone.
    pub cancelled: CancelFlag,
    /// Its part of the token budget, held until the job ends; taken by what runs it.
    pub claim: Option<TokenClaim>,
    /// Started when the job entered the queue.
    pub waiting: Stopwatch,
}

/// Sampling settings of a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Maximum number of tokens of a response.
    pub max_new_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Nucleus sampling threshold.
    pub top_p: f64,
    /// Seed; every choice has its own stream.
    pub seed: u64,
    /// Stop strings.
    pub stop: Vec<String>,
    /// Number of responses.
    pub choices: usize,
    /// Alternatives to list for each token.
    pub top_logprobs: usize,
    /// Decode every row in its own batch.
    pub alone: bool,
}

/// Events of a generation from the compute thread.
#[derive(Debug)]
pub enum RawEvent {
    /// A token whose text is final.
    Token {
        /// The response.
        choice: usize,
        /// Text that it completes.
        text: String,
        /// The token.
        token: Box<RawToken>,
    },
    /// A response is complete.
    Finished {
        /// The response.
        choice: usize,
        /// Why.
        reason: FinishReason,
        /// Tokens generated, including those of a stop string.
        generated: usize,
    },
    /// All responses are complete.
    Done(Timings),
    /// The engine failed.
    Failed(ServingError),
}

/// One generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct RawToken {
    /// Its id.
    pub id: u32,
    /// Its log-prob, temperature 1, nothing masked.
    pub logprob: f64,
    /// The most likely tokens at this position.
    pub top: Vec<(u32, f64)>,
    /// Focus of its hidden state.
    pub focus: Option<f64>,
    /// Attention of the position that predicted it.
    pub shares: Shares,
    /// Raw maps by image.
    pub maps: Vec<Vec<f32>>,
}

/// Responses to score.
pub struct ScoreJob {
    /// The prompt.
    pub prompt: Arc<PreparedPrompt>,
    /// Ids of each response.
    pub responses: Vec<Vec<u32>>,
    /// What to capture of the attention.
    pub plan: CapturePlan,
    /// What to hide.
    pub ablation: Option<Ablation>,
    /// Its part of the token budget, held until the job ends.
    pub claim: TokenClaim,
    /// Receiver of the result; closed when the client has gone.
    pub result: oneshot::Sender<Result<Vec<RawScore>, ServingError>>,
}

/// What to hide from the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ablation {
    /// Every image.
    Image,
    /// This share of all cells, those that the response attends to most.
    Top(f64),
    /// This share of all cells, drawn with a seed.
    Random(f64, u64),
}

/// One scored response; lists have one entry per token.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawScore {
    /// Log-probs, temperature 1, nothing masked.
    pub logprobs: Vec<f64>,
    /// Similarity of the tokens' own states; none without images.
    pub similarity: Option<Vec<f64>>,
    /// Similarity of the states that predict the tokens; none without images.
    pub predicting_similarity: Option<Vec<f64>>,
    /// Attention shares of the predicting positions.
    pub shares: Vec<Shares>,
    /// Raw maps by token and image.
    pub maps: Vec<Vec<Vec<f32>>>,
    /// Log-probs with the hidden cells.
    pub hidden_logprobs: Option<Vec<f64>>,
    /// The hidden cells by image.
    pub hidden_cells: Option<Vec<Vec<usize>>>,
}
