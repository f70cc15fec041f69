//! The KV cache: keys and values of the positions that a batch has processed so far.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::error::ModelError;
use super::input::Batch;

/// A pre-allocated cache: one pair of `[batch, kv heads, capacity, head dim]` tensors per layer.
///
/// A clone shares the storage: only one of the two may be appended to.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
    capacity: usize,
    padding: Vec<usize>,
    next_position: Vec<u32>,
}

impl KvCache {
    /// An empty cache for `rows` rows and `capacity` positions.
    pub fn new(
        layers: usize,
        (rows, kv_heads, capacity, head_dim): (usize, usize, usize, usize),
        device: &Device,
    ) -> Result<Self, ModelError> {
        // [batch, kv_heads, capacity, head_dim]
        let zeros = || Tensor::zeros((rows, kv_heads, capacity, head_dim), DType::F32, device);
        let layers = (0..layers).map(|_| Ok((zeros()?, zeros()?))).collect::<candle_core::Result<_>>()?;
        Ok(Self { layers, len: 0, capacity, padding: vec![0; rows], next_position: vec![0; rows] })
    }

    /// Positions in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is the cache empty?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions that fit in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Left padding of each row.
    pub fn padding(&self) -> &[usize] {
        &self.padding
    }

    /// Position id of each row's next token.
    pub fn next_position(&self) -> &[u32] {
        &self.next_position
    }

    /// Stores new keys and values `[batch, n, kv heads, head dim]` of one layer after those in use and returns all of
    /// them, in the same order of dimensions.
    pub(crate) fn append(&self, layer: usize, k: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor), ModelError> {
        let count = k.dim(1)?;
        let (keys, values) = &self.layers[layer];
        let store = |all: &Tensor, new: &Tensor| {
            all.slice_set(&new.detach().transpose(1, 2)?.contiguous()?, 2, self.len)?;
            all.narrow(2, 0, self.len + count)?.transpose(1, 2)
        };
        Ok((store(keys, k)?, store(values, v)?))
    }

    /// Checks that a batch can continue the cache and fits into it.
    pub(crate) fn admit(&self, batch: &Batch) -> Result<(), ModelError> {
        if batch.rows != self.padding.len() {
            return Err(ModelError::Input(format!(
                "a batch of {} rows cannot continue a cache of {} rows",
                batch.rows,
                self.padding.len()
            )));
        }
        if self.len + batch.seq_len > self.capacity {
            return Err(ModelError::Input(format!(
                "{} more tokens do not fit into a cache of {} that holds {}",
                batch.seq_len, self.capacity, self.len
            )));
        }
        if self.len > 0 && batch.padding.iter().any(|p| *p > 0) {
            return Err(ModelError::Input("a batch that continues a cache may not be padded".to_owned()));
        }
        Ok(())
    }

    /// Called once a batch has been appended to every layer.
    pub(crate) fn advance(&mut self, batch: &Batch) {
        if self.len == 0 {
            self.padding.clone_from(&batch.padding);
        }
        self.len += batch.seq_len;
        self.next_position.clone_from(&batch.next_position);
    }

    /// A cache of the chosen rows, in that order; a row may be chosen several times (one prefill for a whole group).
    pub fn select_rows(&self, rows: &[usize]) -> Result<Self, ModelError> {
        let device = self.layers.first().map_or(&Device::Cpu, |(k, _)| k.device());
        let index: Vec<u32> = rows.iter().map(|r| *r as u32).collect();
        // [chosen sequences]
        let index = Tensor::new(index, device)?;
        let pick = |t: &Tensor| t.index_select(&index, 0);
        let layers = self.layers.iter().map(|(k, v)| Ok((pick(k)?, pick(v)?))).collect::<candle_core::Result<_>>()?;
        Ok(Self {
            layers,
            len: self.len,
            capacity: self.capacity,
            padding: rows.iter().map(|r| self.padding[*r]).collect(),
            next_position: rows.iter().map(|r| self.next_position[*r]).collect(),
        })
    }

    /// Bytes that are allocated.
    pub fn bytes(&self) -> usize {
        let of = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
        self.layers.iter().map(|(k, v)| of(k) + of(v)).sum()
    }

    /// Makes room for `count` more. Positions that are padding in every row are dropped first; if that does not free
    /// enough, the capacity grows by a quarter. Either way the total copying stays linear in the number of positions.
    pub fn reserve(&mut self, count: usize) -> Result<(), ModelError> {
        if self.len + count <= self.capacity {
            return Ok(());
        }
        let surplus = self.surplus();
        let needed = self.len - surplus + count;
        let roomy = needed <= self.capacity - self.capacity / 4;
        self.keep_from(surplus, if roomy { self.capacity } else { needed.max(self.capacity + self.capacity / 4) })
    }

    /// The rows of this cache followed by those of `others`, right-aligned, with room for at least `spare` more
    /// positions. A join copies everything, so rows that arrive at the same time should join together.
    pub fn join(&self, others: &[&Self], spare: usize) -> Result<Self, ModelError> {
        let all = || std::iter::once(self).chain(others.iter().copied());
        let len = all().map(|cache| cache.len - cache.surplus()).max().unwrap_or(0);
        let capacity = all().map(|cache| cache.capacity - cache.surplus()).fold(len + spare, usize::max);
        let rows = all().map(|cache| cache.padding.len()).sum();
        let joined = |of: &dyn Fn(&Self) -> &Tensor| -> candle_core::Result<Tensor> {
            let fresh = blank(of(self), rows, capacity)?;
            let mut first = 0;
            for cache in all() {
                let count = cache.padding.len();
                place(of(cache), cache.surplus()..cache.len, &fresh.narrow(0, first, count)?, len)?;
                first += count;
            }
            Ok(fresh)
        };
        let layers = (0..self.layers.len())
            .map(|i| Ok((joined(&|cache| &cache.layers[i].0)?, joined(&|cache| &cache.layers[i].1)?)))
            .collect::<candle_core::Result<_>>()?;
        let padding = |cache: &Self| -> Vec<usize> { cache.padding.iter().map(|p| p + len - cache.len).collect() };
        Ok(Self {
            layers,
            len,
            capacity,
            padding: all().flat_map(padding).collect(),
            next_position: all().flat_map(|cache| cache.next_position.iter().copied()).collect(),
        })
    }

    /// Drops positions that are padding in every row.
    pub fn trim(&mut self) -> Result<(), ModelError> {
        let surplus = self.surplus();
        if surplus > 0 { self.keep_from(surplus, self.capacity - surplus) } else { Ok(()) }
    }

    /// Positions that are padding in every row.
    fn surplus(&self) -> usize {
        self.padding.iter().copied().min().unwrap_or(0)
    }

    /// Moves everything after the first `surplus` positions to tensors of `capacity` positions.
    fn keep_from(&mut self, surplus: usize, capacity: usize) -> Result<(), ModelError> {
        let len = self.len - surplus;
        self.layers = self.laid_out(0..self.padding.len(), surplus..self.len, len, capacity)?;
        (self.len, self.capacity) = (len, capacity);
        self.padding.iter_mut().for_each(|p| *p -= surplus);
        Ok(())
    }

    /// A cache of one of the rows, without its padding and without spare capacity.
    pub fn row(&self, row: usize) -> Result<Self, ModelError> {
        let padding = self.padding[row];
        let len = self.len - padding;
        let layers = self.laid_out(row..row + 1, padding..self.len, len, len)?;
        Ok(Self { layers, len, capacity: len, padding: vec![0], next_position: vec![self.next_position[row]] })
    }

    /// A cache of one row's first `count` positions with room for `spare` more; `next` is the position id of the next
    /// token.
    pub fn prefix(&self, count: usize, next: u32, spare: usize) -> Result<Self, ModelError> {
        let capacity = count + spare;
        let layers = self.laid_out(0..1, 0..count, count, capacity)?;
        Ok(Self { layers, len: count, capacity, padding: vec![0], next_position: vec![next] })
    }

    /// New tensors of `capacity` positions for some rows; the copied positions `kept` end at position `end`.
    fn laid_out(
        &self,
        rows: Range<usize>,
        kept: Range<usize>,
        end: usize,
        capacity: usize,
    ) -> Result<Vec<(Tensor, Tensor)>, ModelError> {
        let lay = |tensor: &Tensor| -> candle_core::Result<Tensor> {
            let fresh = blank(tensor, rows.len(), capacity)?;
            place(&tensor.narrow(0, rows.start, rows.len())?, kept.clone(), &fresh, end)?;
            Ok(fresh)
        };
        Ok(self.layers.iter().map(|(k, v)| Ok((lay(k)?, lay(v)?))).collect::<candle_core::Result<_>>()?)
    }
}

/// Zeros for `rows` rows and `capacity` positions, with the other dimensions of `like`.
fn blank(like: &Tensor, rows: usize, capacity: usize) -> candle_core::Result<Tensor> {
    let (_, heads, _, width) = like.dims4()?;
    // [batch, kv_heads, capacity, head_dim]
    Tensor::zeros((rows, heads, capacity, width), like.dtype(), like.device())
}

/// Copies the positions `kept` of `from` into `into`, where they end at position `end`.
fn place(from: &Tensor, kept: Range<usize>, into: &Tensor, end: usize) -> candle_core::Result<()> {
    if kept.is_empty() {
        return Ok(());
    }
    into.slice_set(&from.narrow(2, kept.start, kept.len())?.contiguous()?, 2, end - kept.len())
}
