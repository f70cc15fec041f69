//! Defaults and limits of `/generate` and `/v1/score`.

use std::time::Duration;

use super::app::Limits;
use crate::domain::kind::{Kind, Span};

/// `top_p` when the request has none: all tokens.
pub fn top_p() -> f64 {
    1.0
}

/// Sampling temperature of a chat when the request has none, as in `OpenAI`'s API.
pub fn chat_temperature() -> f64 {
    1.0
}

/// Responses per prompt when the request has no `n`.
pub fn choices() -> usize {
    1
}

/// Are heat maps drawn over the image when the request does not say?
pub fn overlay() -> bool {
    true
}

/// Sampling temperature; 0 is greedy.
pub const TEMPERATURE: Kind = Kind::Number(Span::Closed(0.0, 10.0));
/// Nucleus share.
pub const TOP_P: Kind = Kind::Number(Span::OpenClosed(0.0, 1.0));
/// Alternatives listed with each token.
pub const TOP_LOGPROBS: Kind = Kind::Whole { min: 0, max: 20 };
/// Share of the image cells that an ablation hides.
pub const MASKED_SHARE: Kind = Kind::Number(Span::Closed(0.0, 1.0));
/// Most stop strings of a request.
pub const MAX_STOPS: usize = 16;
/// Longest stop string in bytes.
pub const MAX_STOP_BYTES: usize = 256;
/// Most images of a request.
pub const MAX_IMAGES: usize = 64;
/// Most images of a request that are fetched from web addresses.
pub const MAX_FETCHED_IMAGES: usize = 16;
/// Most responses scored in one request.
pub const MAX_RESPONSES: usize = 64;
/// Smaller heat-map pictures are enlarged until their longer side has this many pixels.
pub const HEATMAP_MIN_SIDE: u32 = 448;
/// Larger heat-map pictures are reduced to this.
pub const HEATMAP_MAX_SIDE: u32 = 896;

/// A step waits for requests whose prompts are being prepared if they are more than one in this number of the running
/// rows…
pub const JOIN_WAIT_SHARE: usize = 4;
/// …but at most this long, until none are pending.
pub const JOIN_WAIT: Duration = Duration::from_millis(25);
/// Interval of checking whether they are still pending.
pub const JOIN_POLL: Duration = Duration::from_millis(1);

/// Interval of the heartbeats of an engine that serves other servers.
pub const ENGINE_HEARTBEAT: Duration = Duration::from_secs(2);
/// Such an engine counts as dead after this long without a heartbeat.
pub const ENGINE_EXPIRY: Duration = Duration::from_secs(10);
/// Its record is deleted after this long.
pub const ENGINE_FORGOTTEN: Duration = Duration::from_hours(1);
/// Interval of the keep-alives of an engine that waits for its model.
pub const ENGINE_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// An engine counts as dead after this long without a byte in the middle of an answer.
pub const ENGINE_SILENCE: Duration = Duration::from_secs(20);
/// Time limit of connecting to an engine.
pub const ENGINE_CONNECT: Duration = Duration::from_secs(2);
/// Time limit of sending a request to an engine.
pub const ENGINE_SEND: Duration = Duration::from_mins(1);
/// An engine that would have to load the model counts as if it had this many more requests: with fewer, the engines
/// that have the model in memory share the work.
pub const ENGINE_LOADING_COST: u64 = 8;

/// Limits of the serving engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Requests that may wait for one model; more are refused.
    pub queued_requests: usize,
    /// Tokens that the accepted requests of one model may still need, their prompts and the most that they may
    /// generate; more are refused. A request that finds the model idle is always accepted.
    pub queued_tokens: usize,
    /// Rows that are decoded together; also the most choices of one request.
    pub batch_rows: usize,
    /// Prompt tokens that are prefilled between two decoding steps: a long prompt must not delay running answers.
    pub prefill_chunk_tokens: usize,
    /// Bytes of the prefix cache of each model.
    pub prompt_memory_bytes: usize,
    /// Models kept in memory; the least recently used one is unloaded for another.
    pub loaded_models: usize,
    /// Largest encoded image in bytes.
    pub image_bytes: usize,
    /// Most pixels of all images of a request together, read from their headers before decoding.
    pub image_pixels: u64,
    /// Most attention-map values in one answer.
    pub map_values: usize,
}

impl Default for EngineLimits {
    /// The default settings of the program.
    fn default() -> Self {
        Self::from(&Limits::default())
    }
}

impl From<&Limits> for EngineLimits {
    /// The engine's part of the program's limits.
    fn from(limits: &Limits) -> Self {
        Self {
            queued_requests: limits.queued_requests,
            queued_tokens: limits.queued_tokens,
            batch_rows: limits.batch_rows,
            prefill_chunk_tokens: limits.prefill_chunk_tokens,
            prompt_memory_bytes: limits.prompt_memory_bytes,
            loaded_models: limits.loaded_models,
            image_bytes: limits.image_bytes,
            image_pixels: limits.image_pixels,
            map_values: limits.map_values,
        }
    }
}
