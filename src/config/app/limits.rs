//! Limits on requests and on the work of the engine.

use super::table::SETTINGS;
use super::values::number;
use super::{ConfigError, Setting, SettingValue, Source};

/// Limits on requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one key in a minute; 0: any number.
    pub requests_per_minute: u32,
    /// Answers of the engine that one key may wait for at the same time; 0: any number.
    pub concurrent_answers: usize,
    /// Live streams of one key at the same time; 0: any number.
    pub streams: usize,
    /// Connections at the same time, where the limit of open files allows that number.
    pub connections: usize,
    /// Largest request body in bytes.
    pub body_bytes: usize,
    /// Bytes that the bodies of all requests together may hold.
    pub bodies_bytes: usize,
    /// Largest encoded image in bytes.
    pub image_bytes: usize,
    /// Most pixels of all images of a request together, read from their headers before decoding.
    pub image_pixels: u64,
    /// Largest upload of a data set in bytes, and the most that its zip files may unpack to.
    pub dataset_bytes: u64,
    /// Most files of a data set.
    pub dataset_files: u64,
    /// Most attention-map values in one answer.
    pub map_values: usize,
    /// Requests that may wait for the engine.
    pub queued_requests: usize,
    /// Tokens that the accepted requests of one model may still need: their prompts and the most that they may
    /// generate.
    pub queued_tokens: usize,
    /// Rows that are decoded together; also the most choices of one request.
    pub batch_rows: usize,
    /// Prompt tokens that are prefilled between two decoding steps.
    pub prefill_chunk_tokens: usize,
    /// Bytes of the prefix cache of each model; 0: none.
    pub prompt_memory_bytes: usize,
    /// Models kept in memory.
    pub loaded_models: usize,
    /// Seconds until an unanswered request times out.
    pub request_timeout_seconds: u64,
}

impl Default for Limits {
    /// The default limits.
    fn default() -> Self {
        let defaults = SETTINGS.iter().map(|setting| (setting, (setting.default.to_owned(), Source::Default)));
        Self::settle(&defaults.collect::<Vec<_>>())
            .unwrap_or_else(|error| unreachable!("a default is out of range: {error}"))
    }
}

impl Limits {
    /// The limits among the settings.
    pub(super) fn settle(values: &[(&Setting, SettingValue)]) -> Result<Self, ConfigError> {
        Ok(Self {
            requests_per_minute: number(values, "max_requests_per_minute", 0, u64::from(u32::MAX))? as u32,
            concurrent_answers: number(values, "max_concurrent_answers", 0, 1 << 20)? as usize,
            streams: number(values, "max_streams", 0, 1 << 20)? as usize,
            connections: number(values, "max_connections", 1, 1 << 20)? as usize,
            body_bytes: number(values, "max_body_bytes", 1024, 1 << 40)? as usize,
            bodies_bytes: number(values, "max_bodies_bytes", 1024, 1 << 40)? as usize,
            image_bytes: number(values, "max_image_bytes", 1024, 1 << 40)? as usize,
            image_pixels: number(values, "max_image_pixels", 1, 1 << 40)?,
            dataset_bytes: number(values, "max_dataset_bytes", 1024, 1 << 50)?,
            dataset_files: number(values, "max_dataset_files", 1, 1 << 32)?,
            map_values: number(values, "max_map_values", 1, 1 << 40)? as usize,
            queued_requests: number(values, "max_queued_requests", 1, 1 << 20)? as usize,
            queued_tokens: number(values, "max_queued_tokens", 1, 1 << 40)? as usize,
            batch_rows: number(values, "engine_batch_rows", 1, 4096)? as usize,
            prefill_chunk_tokens: number(values, "engine_prefill_chunk_tokens", 16, 1 << 20)? as usize,
            prompt_memory_bytes: number(values, "engine_prompt_memory_bytes", 0, 1 << 40)? as usize,
            loaded_models: number(values, "engine_loaded_models", 1, 1024)? as usize,
            request_timeout_seconds: number(values, "request_timeout_seconds", 1, 86_400)?,
        })
    }
}
