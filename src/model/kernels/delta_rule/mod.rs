//! The gated delta rule (Yang, Kautz & Hatamizadeh, arXiv 2412.06464), the causal convolution before it, and its gates.
//!
//! Per value head there is a state `S [key_dim, value_dim]`. A token decays it, corrects what it holds under the token's
//! key, and reads it: `S' = e^g S; u = beta (v - S'^T k); S = S' + k u^T; o = S^T q`.
//!
//! | form | file | use |
//! |---|---|---|
//! | recurrent, token by token | `composed.rs`, `step.rs` | decode; the reference in tests |
//! | composed, in chunks | `composed.rs` | every device |
//! | fused, in chunks | `chunk.rs`, `chunk_backward.rs`, `forward.rs`, `backward.rs`, `fused.rs` | f32 on the CPU |
//!
//! **In chunks** of n tokens, with `c` the sums of log decays within the chunk, `D_ij = e^(c_i - c_j)` for `j <= i` (0 above)
//! and `L_ij = beta_i (k_i . k_j) D_ij` for `j < i`:
//! `(I + L) U = beta (V - e^c K S0)`; `O = e^c Q S0 + (Q K^T * D) U`; `S1 = e^(c_n) S0 + (e^(c_n - c) K)^T U`.
//! Only differences of sums are raised, none of which is positive: `e^-c` overflows within a chunk where a head forgets
//! fast. Sums of decays are taken in f64: their rounding error would grow with their size.

mod backward;
mod chunk;
mod chunk_backward;
mod composed;
mod convolution;
mod convolution_fused;
mod convolution_step;
mod forward;
mod fused;
mod gates;
mod layout;
mod segments;
mod step;
mod triangle;
mod waves;

use candle_core::{Result, Tensor, bail};

use super::Form;
pub use convolution::{Convolved, causal_conv, causal_conv_by};
pub use convolution_step::{causal_conv_step, causal_conv_step_by};
pub use gates::{log_decay, log_decay_by};
pub use segments::{Segment, Segments, Start};
pub use step::{delta_step, delta_step_by};

/// Tokens of a chunk.
pub const CHUNK: usize = 64;

/// Added to the sum of squares before the root, when queries and keys are normalised.
const L2_EPS: f64 = 1e-6;

/// Sizes of a delta net. Key head `h` serves the value heads `h * r .. (h + 1) * r` with `r = value_heads / key_heads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaHeads {
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values.
    pub value_heads: usize,
    /// Width of a query or key.
    pub key_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
}

impl DeltaHeads {
    /// Value heads of a key head.
    pub fn repeats(self) -> usize {
        self.value_heads / self.key_heads.max(1)
    }

    /// Values of all queries, or of all keys, at a position.
    pub fn key_width(self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Values of all value heads at a position.
    pub fn value_width(self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Channels of the convolution: queries, keys and values.
    pub fn channels(self) -> usize {
        2 * self.key_width() + self.value_width()
    }

    /// The factor of all queries.
    fn scale(self) -> f64 {
        1.0 / (self.key_dim as f64).sqrt()
    }
}

/// The result of [`delta_rule`].
#[derive(Debug)]
pub struct DeltaRule {
    /// `[rows, seq_len, value_heads, value_dim]`; 0 at padding.
    pub out: Tensor,
    /// The state at the end of each segment, `[segments, value_heads, key_dim, value_dim]`, if requested; with gradient.
    pub states: Option<Tensor>,
}

/// The gated delta rule. Queries and keys are l2-normalised and queries scaled by `key_dim^-0.5` here.
///
/// - `qkv`: `[rows, seq_len, channels]`, all q heads, all k heads, all v heads, as the convolution gives them.
/// - `decay`: `[rows, seq_len, value_heads]`, the log decay `g <= 0`. `beta`: the same shape.
/// - `initial`: `[cached sequences, value_heads, key_dim, value_dim]`; needed where a segment is [`Start::Cached`].
/// - `keep_states`: are the final states wanted?
///
/// # Errors
/// Shapes that do not match each other, `heads` or `segments`.
pub fn delta_rule(
    qkv: &Tensor,
    decay: &Tensor,
    beta: &Tensor,
    initial: Option<&Tensor>,
    segments: &Segments,
    heads: DeltaHeads,
    keep_states: bool,
) -> Result<DeltaRule> {
    let inputs = Inputs { qkv, decay, beta, initial, segments, heads };
    let form = match initial {
        Some(initial) => Form::of(&[qkv, decay, beta, initial]),
        None => Form::of(&[qkv, decay, beta]),
    };
    delta_rule_by(Method::Chunked(form), &inputs, keep_states)
}

/// The arguments of [`delta_rule`].
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Queries, keys and values.
    pub qkv: &'a Tensor,
    /// Log decays.
    pub decay: &'a Tensor,
    /// Strengths of the corrections.
    pub beta: &'a Tensor,
    /// States of cached sequences.
    pub initial: Option<&'a Tensor>,
    /// The sequences.
    pub segments: &'a Segments,
    /// Sizes.
    pub heads: DeltaHeads,
}

/// How the delta rule is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Token by token.
    Recurrent,
    /// In chunks.
    Chunked(Form),
}

/// [`delta_rule`] by a chosen method.
pub fn delta_rule_by(method: Method, inputs: &Inputs<'_>, keep_states: bool) -> Result<DeltaRule> {
    inputs.check()?;
    match method {
        Method::Recurrent => composed::recurrent(inputs, keep_states),
        Method::Chunked(Form::Composed) => composed::chunked(inputs, keep_states),
        Method::Chunked(Form::Fused) => fused::delta_rule(inputs, keep_states),
    }
}

impl Inputs<'_> {
    fn check(&self) -> Result<()> {
        let Self { qkv, decay, beta, initial, segments, heads } = self;
        let (rows, seq_len) = segments.shape();
        let whole = heads.key_heads > 0 && heads.value_heads > 0 && heads.value_heads.is_multiple_of(heads.key_heads);
        if !whole || qkv.dims() != [rows, seq_len, heads.channels()] {
            bail!("queries, keys and values {:?} do not fit {rows} rows of {seq_len} positions, {heads:?}", qkv.dims());
        }
        let gates = [rows, seq_len, heads.value_heads];
        if decay.dims() != gates || beta.dims() != gates {
            bail!("gates {:?} and {:?} are not {gates:?}", decay.dims(), beta.dims());
        }
        let cached = match initial {
            Some(initial) => {
                let (sequences, heads_, key_dim, value_dim) = initial.dims4()?;
                if (heads_, key_dim, value_dim) != (heads.value_heads, heads.key_dim, heads.value_dim) {
                    bail!("initial states {:?} do not fit {heads:?}", initial.dims());
                }
                sequences
            }
            None => 0,
        };
        if cached < segments.cached() {
            bail!(
                "the segments continue {} cached sequences, but there are {cached} initial states",
                segments.cached()
            );
        }
        Ok(())
    }
}
