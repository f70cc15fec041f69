//! Keys and values of the columns that a batch has read so far.

use candle_core::Tensor;

/// A pre-allocated cache: one pair of `[rows, kv heads, capacity, head dim]` tensors per layer.
#[derive(Debug)]
pub struct KvCache {
    /// Keys and values by layer.
    pub(crate) layers: Vec<(Tensor, Tensor)>,
    /// Columns in use.
    pub(crate) len: usize,
    /// Columns that fit.
    pub(crate) capacity: usize,
    /// Columns of padding at the left of each row.
    pub(crate) padding: Vec<usize>,
    /// Position id of each row's next column.
    pub(crate) next_position: Vec<u32>,
}
