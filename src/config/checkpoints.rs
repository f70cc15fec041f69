//! How checkpoints are written.

/// Weights beyond so many bytes are written as several files: what Hugging Face's hub and tools handle well.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;
