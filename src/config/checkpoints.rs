//! How checkpoints are written.

/// Weights are split into files of at most this many bytes, which Hugging Face's hub and tools handle well.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;
