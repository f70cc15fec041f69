//! Activation memory: the bytes that each operation keeps alive for its backward pass, in the form that would run. The
//! footprint of a model is computed from it. Candle keeps the result of every operation that a gradient flows through;
//! views share their storage.

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

    /// What a low-rank adapter adds to a linear layer: two thin products, the scaled one, the sum.
    pub fn adapter(rows: usize, rank: usize, out: usize) -> usize {
        VALUE * rows * (rank + 3 * out)
    }

    /// [`super::attention`] with `queries` and `keys` as numbers of values, `lines` query rows of all heads and `pairs`
    /// query-key pairs. Composed: rotated and reordered operands; scaled queries; scores, masked scores, differences,
    /// exponentials, shares; maximum and sum of each line; the mix, and its copy in token order.
    pub fn attention(self, queries: usize, keys: usize, lines: usize, pairs: usize, masked: bool) -> usize {
        if self.cpu {
            return VALUE * queries;
        }
        let rotate = |values: usize| 4 * values + values / 2;
        let operands = rotate(queries) + rotate(keys) + queries + 2 * keys;
        VALUE * (operands + 3 * queries + (4 + usize::from(masked)) * pairs + 2 * lines)
    }

    /// Buffers of attention's backward. Composed: nine planes of pairs are alive at the softmax's division.
    pub fn attention_backward(self, queries: usize, keys: usize, pairs: usize) -> usize {
        VALUE * if self.cpu { 3 * queries + 4 * keys } else { 9 * pairs + 8 * queries }
    }

    /// [`super::gated_silu`]. Composed: the activation and the product.
    pub fn gated_silu(self, values: usize) -> usize {
        VALUE * values * if self.cpu { 1 } else { 2 }
    }

    /// Buffers of its backward, the gradients of both branches with their sums among them.
    pub fn gated_silu_backward(self, values: usize) -> usize {
        VALUE * values * if self.cpu { 5 } else { 15 }
    }

    /// [`super::quick_gelu`]. Composed: five results.
    pub fn quick_gelu(self, values: usize) -> usize {
        VALUE * values * if self.cpu { 1 } else { 5 }
    }

    /// [`super::gelu()`] and [`super::gelu_erf`].
    pub fn gelu(self, values: usize) -> usize {
        VALUE * values
    }
}
