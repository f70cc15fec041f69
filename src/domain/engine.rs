//! Engines: servers that hold models in memory for servers that do not.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An engine, as of its last heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EngineRecord {
    /// `eng_…`.
    pub id: String,
    /// Its URL for other servers.
    pub address: String,
    /// Version of the program.
    pub version: String,
    /// The machine it runs on.
    pub host: String,
    /// Its device, e.g. `cpu` or `cuda:0`.
    pub device: String,
    /// The models in its memory, most recently used first.
    pub models: Vec<String>,
    /// Waiting requests and sequences in progress.
    pub load: u64,
    /// When it registered.
    pub started_at: DateTime<Utc>,
    /// Its last heartbeat.
    pub heartbeat_at: DateTime<Utc>,
}

/// What an engine tells when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEngine {
    /// Its id, new for every process.
    pub id: String,
    /// Its URL for other servers.
    pub address: String,
    /// Version of the program.
    pub version: String,
    /// The machine.
    pub host: String,
    /// Its device.
    pub device: String,
}

/// What an engine tells from time to time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineBeat {
    /// The models in its memory.
    pub models: Vec<String>,
    /// Waiting requests and sequences in progress.
    pub load: u64,
}

/// What an engine has done since it was started, and the current usage of its models.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EngineUsage {
    /// Models in memory.
    pub models: Vec<ModelUsage>,
    /// Requests that left the queue.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens that were generated: the sum of rows over decode steps.
    pub generated_tokens: u64,
    /// Decode steps; generated tokens per step is the mean batch size.
    pub decode_steps: u64,
    /// Seconds that requests waited in queues.
    pub queue_seconds: f64,
    /// Seconds spent on prefill.
    pub prefill_seconds: f64,
    /// Seconds spent on decoding.
    pub decode_seconds: f64,
}

/// Usage of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelUsage {
    /// Its id.
    pub model: String,
    /// Requests that wait for it.
    pub queued: usize,
    /// Rows in its batches.
    pub rows: usize,
    /// Bytes of keys and values of rows in progress.
    pub kv_bytes: usize,
    /// Bytes in the prefix cache.
    pub prompt_memory_bytes: usize,
}
