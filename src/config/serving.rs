//! Defaults and limits of `/generate` and `/v1/score`.

use std::time::Duration;

use super::app::Limits;
use crate::domain::kind::{Kind, Span};

/// Nucleus share when the request names none: everything.
pub fn top_p() -> f64 {
    1.0
}

/// Sampling temperature of a chat when the request names none: what `OpenAI`'s API does.
pub fn chat_temperature() -> f64 {
    1.0
}

/// Responses per prompt when the request names no number.
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
/// Alternatives listed beside each token.
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
/// Shorter heat-map pictures are enlarged until their longer side has this many pixels.
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

/// An engine that serves other servers tells that it is alive this often.
pub const ENGINE_HEARTBEAT: Duration = Duration::from_secs(2);
/// One that was silent for so long is taken for dead.
pub const ENGINE_EXPIRY: Duration = Duration::from_secs(10);
/// One that was silent for so long is forgotten.
pub const ENGINE_FORGOTTEN: Duration = Duration::from_hours(1);
/// An engine that waits for its model tells that it is alive this often.
pub const ENGINE_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// An engine that says nothing for so long in the middle of an answer is taken for dead.
pub const ENGINE_SILENCE: Duration = Duration::from_secs(20);
/// How long a connection to an engine may take.
pub const ENGINE_CONNECT: Duration = Duration::from_secs(2);
/// How long an engine may take to receive a request.
pub const ENGINE_SEND: Duration = Duration::from_mins(1);
/// An engine that would have to load the model counts as if it had so many requests more: below that, those that have
/// it in memory share the work.
pub const ENGINE_LOADING_COST: u64 = 8;

/// Limits of the serving engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Requests that may wait for one model; more are turned away.
    pub queued_requests: usize,
    /// Tokens that the accepted requests of one model may still take, their prompts and the most that they may
    /// generate; more are turned away. A request that finds the model idle is always accepted.
    pub queued_tokens: usize,
    /// Rows that are decoded together; also the most choices of one request.
    pub batch_rows: usize,
    /// Prompt tokens that are read between two decoding steps: a long prompt must not hold up the answers under way.
    pub prefill_chunk_tokens: usize,
    /// Keys and values of prompts that were read, kept for requests that begin alike, in bytes per model.
    pub prompt_memory_bytes: usize,
    /// Models kept in memory; the one unused for longest makes room.
    pub loaded_models: usize,
    /// Largest encoded image in bytes.
    pub image_bytes: usize,
    /// Most pixels of all images of a request together, read from their headers before decoding.
    pub image_pixels: u64,
    /// Most attention-map values in one answer.
    pub map_values: usize,
}

impl Default for EngineLimits {
    /// What the program's settings are when nobody sets them.
    fn default() -> Self {
        Self::from(&Limits::default())
    }
}

impl From<&Limits> for EngineLimits {
    /// The engine's share of the program's limits.
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
