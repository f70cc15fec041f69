//! How many responses are held at a time: what the trainer keeps to, and what its memory is estimated from.

/// Rows of a rollout that decode together at most; more only costs memory.
pub const DECODED_ROWS: usize = 256;
/// Responses that an evaluation holds at a time.
pub const EVALUATED_RESPONSES: u64 = 512;
