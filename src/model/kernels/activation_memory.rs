//! Activation memory: the bytes that each operation keeps alive for its backward pass, in the form that would run. The
//! footprint of a model is computed from it. Candle keeps the result of every operation that a gradient flows through;
//! views share their storage.

use super::attention::{BLOCK_SCORES, BlockSides};
use super::delta_rule::{CHUNK, DeltaHeads};

/// Bytes of a value in a graph.
pub const VALUE: usize = 4;

/// What the memory of operations depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetic {
    /// On a CPU, where f32 operations are fused.
    pub cpu: bool,
    /// Bytes of a weight: 4, or 2 where weights are 16-bit floats.
    pub weight_bytes: usize,
}

impl Arithmetic {
    /// Are operations between values and weights fused?
    fn fuses_weights(self) -> bool {
        self.cpu && self.weight_bytes == VALUE
    }

    /// [`super::rms_norm`] of `rows` rows. Composed: square, product, scaled product; five numbers a row for the root.
    pub fn rms_norm(self, rows: usize, width: usize) -> usize {
        VALUE * if self.fuses_weights() { rows * width } else { 3 * rows * width + 5 * rows }
    }

    /// [`super::layer_norm`]. Composed: difference, square, product, scaled and shifted product; seven numbers a row.
    pub fn layer_norm(self, rows: usize, width: usize) -> usize {
        VALUE * if self.fuses_weights() { rows * width } else { 5 * rows * width + 7 * rows }
    }

    /// [`super::linear`]. Composed: the product and, where there is a bias, the sum; operands and product of 16-bit
    /// weights are 16 bits wide and kept in addition to the widened product.
    pub fn linear(self, rows: usize, inner: usize, out: usize, bias: bool) -> usize {
        if self.fuses_weights() {
            return VALUE * rows * out;
        }
        let narrow = if self.weight_bytes == VALUE { 0 } else { self.weight_bytes * rows * (inner + out) };
        narrow + VALUE * rows * out * (1 + usize::from(bias))
    }

    /// What a low-rank adapter adds to a linear layer: the thin product and the scaled one. Composed: the product with
    /// the other factor, and the sum.
    pub fn adapter(self, rows: usize, rank: usize, out: usize) -> usize {
        VALUE * rows * (2 * rank + if self.fuses_weights() { 0 } else { 2 * out })
    }

    /// [`super::attention`] with `queries` values and `lines` query rows of all heads: the mix; composed, a number of
    /// each line too.
    pub fn attention(self, queries: usize, lines: usize) -> usize {
        VALUE * (queries + if self.cpu { 0 } else { lines })
    }

    /// Buffers of attention's backward, with `keys` values and `pairs` query-key pairs. Composed: operands by head,
    /// their gradients in parts, whole and by token, and five planes of one block of pairs.
    pub fn attention_backward(self, queries: usize, keys: usize, pairs: usize) -> usize {
        if self.cpu {
            return VALUE * (3 * queries + 4 * keys);
        }
        VALUE * (7 * queries + 8 * keys + 5 * pairs.min(BLOCK_SCORES))
    }

    /// Masks of the blocks of one pass in which some pairs are masked; every layer shares them. Composed: a band as
    /// wide as a block is long.
    pub fn attention_masks(self, rows: usize, heads: usize, seq_len: usize) -> usize {
        let side = BlockSides::fitting(rows * heads, seq_len).keys.min(seq_len);
        if self.cpu { 0 } else { VALUE * rows * seq_len * side }
    }

    /// [`super::gated_silu`]: the product.
    pub fn gated_silu(self, values: usize) -> usize {
        VALUE * values
    }

    /// Buffers of its backward, the gradients of both branches with their sums among them.
    pub fn gated_silu_backward(self, values: usize) -> usize {
        VALUE * values * if self.cpu { 5 } else { 9 }
    }

    /// Rows that run through [`super::attention`] without a graph: buffers in addition to its arguments. Composed:
    /// operands by head, four planes of one block of pairs, and the mix by head and by token.
    pub fn attention_reading(self, queries: usize, keys: usize, pairs: usize) -> usize {
        VALUE * if self.cpu { queries } else { 5 * queries + 3 * keys + 4 * pairs.min(BLOCK_SCORES) }
    }

    /// A draw of a token for each row. On a CPU the logits and their copy for the sampler; on a GPU what they are
    /// scaled, masked and raised to.
    pub fn draw(self, rows: usize, vocabulary: usize) -> usize {
        VALUE * rows * vocabulary * if self.cpu { 2 } else { 5 }
    }

    /// Bytes of a number in a KV cache: 16 bits on a GPU.
    pub fn cached_value(self) -> usize {
        if self.cpu { VALUE } else { 2 }
    }

    /// Bytes that are added to `values` of a linear layer's operands and results where weights are narrow: their narrow
    /// copies.
    pub fn narrow_copies(self, values: usize) -> usize {
        if self.weight_bytes == VALUE { 0 } else { self.weight_bytes * values }
    }

    /// [`super::quick_gelu`]. Composed: six results.
    pub fn quick_gelu(self, values: usize) -> usize {
        VALUE * values * if self.cpu { 1 } else { 6 }
    }

    /// [`super::gelu()`] and [`super::gelu_erf`].
    pub fn gelu(self, values: usize) -> usize {
        VALUE * values
    }

    /// [`super::zero_centred_rms_norm`]. The weight is widened, so that 16-bit ones are fused too.
    pub fn zero_centred_rms_norm(self, rows: usize, width: usize) -> usize {
        Self { weight_bytes: VALUE, ..self }.rms_norm(rows, width)
    }

    /// [`super::gated_rms_norm`]. Composed: the norm, the gate's activation and the product.
    pub fn gated_rms_norm(self, rows: usize, width: usize) -> usize {
        if self.cpu { VALUE * rows * width } else { self.zero_centred_rms_norm(rows, width) + 2 * VALUE * rows * width }
    }

    /// [`super::sigmoid`]. Composed: product, tanh, sum, product.
    pub fn sigmoid(self, values: usize) -> usize {
        VALUE * values * if self.cpu { 1 } else { 4 }
    }

    /// [`super::sigmoid_gated`].
    pub fn sigmoid_gated(self, values: usize) -> usize {
        if self.cpu { VALUE * values } else { self.sigmoid(values) + VALUE * values }
    }

    /// [`super::log_decay`]. Composed: nine results.
    pub fn log_decay(self, values: usize) -> usize {
        VALUE * values * if self.cpu { 1 } else { 9 }
    }

    /// [`super::causal_conv`] with `kernel` taps. Composed: inputs with zeros; per tap inputs, products and sums; the
    /// activation.
    pub fn causal_conv(self, values: usize, kernel: usize) -> usize {
        VALUE * values * if self.cpu { 1 } else { 1 + 3 * kernel }
    }

    /// Buffers of its backward: gradients of the result and of the inputs.
    pub fn causal_conv_backward(self, values: usize) -> usize {
        VALUE * values * if self.cpu { 2 } else { 6 }
    }

    /// [`super::delta_rule()`] over `tokens` positions: the result, and both gates in one tensor. Composed: operands in
    /// the order of heads, and what the formulas of a chunk compute one after the other.
    pub fn delta_rule(self, tokens: usize, heads: DeltaHeads) -> usize {
        let DeltaHeads { value_heads, key_dim, value_dim, .. } = heads;
        if self.cpu {
            return VALUE * tokens * (heads.value_width() + 2 * value_heads);
        }
        let repeated = if heads.repeats() > 1 { 2 * value_heads * key_dim } else { 0 };
        let operands = 2 * heads.channels() + 6 * heads.key_width() + repeated;
        let pairs = 12 + 4 * CHUNK.ilog2() as usize;
        let chunk = pairs * CHUNK + 4 * key_dim + 16 * value_dim + 3 * key_dim * value_dim / CHUNK;
        VALUE * tokens * (operands + value_heads * chunk)
    }

    /// Buffers of its backward. Fused: gradients of the result and of the arguments, and the chunks of one key head.
    pub fn delta_rule_backward(self, tokens: usize, heads: DeltaHeads) -> usize {
        let DeltaHeads { key_dim, value_dim, .. } = heads;
        if !self.cpu {
            return self.delta_rule(tokens, heads);
        }
        let per_value_head = key_dim * value_dim / CHUNK + 3 * value_dim + CHUNK;
        let chunks = 4 * key_dim + 2 * CHUNK + heads.repeats() * per_value_head;
        VALUE * tokens * (heads.value_width() + 2 * heads.channels() + chunks)
    }
}
