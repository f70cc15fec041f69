//! How much is in memory at a time: the limits of the trainer, from which its memory is estimated.

/// Most samples of a rollout that decode together; more only costs memory.
pub const DECODED_ROWS: usize = 256;
/// Most values of a parameter that an optimizer composed of a device's operations updates at a time: each takes several
/// temporary copies.
pub const UPDATED_AT_ONCE: usize = 1 << 24;
/// Most responses that an evaluation holds at a time.
pub const EVALUATED_RESPONSES: u64 = 512;
