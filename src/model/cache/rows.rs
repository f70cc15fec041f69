//! What moves rows and positions of a cache: joining, trimming, taking a row or a prefix out.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::Tensor;

use super::{KvCache, Layer};
use crate::model::error::ModelError;

impl KvCache {
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
        let joined = |of: &dyn Fn(&Self) -> Option<&Tensor>| -> Result<Tensor, ModelError> {
            let first_of = of(self).ok_or_else(unequal)?;
            let fresh = blank(first_of, rows, capacity)?;
            let mut first = 0;
            for cache in all() {
                let count = cache.padding.len();
                let from = of(cache).ok_or_else(unequal)?;
                place(from, cache.surplus()..cache.len, &fresh.narrow(0, first, count)?, len)?;
                first += count;
            }
            Ok(fresh)
        };
        let stacked = |layer: usize, state: usize| -> Result<Tensor, ModelError> {
            let parts = all().map(|cache| cache.states(layer)?.get(state).ok_or_else(unequal));
            // [batch, shape of the state]
            Ok(Tensor::cat(&parts.collect::<Result<Vec<_>, _>>()?, 0)?)
        };
        let layer = |(index, layer): (usize, &Layer)| -> Result<Layer, ModelError> {
            Ok(match layer {
                Layer::Attention(..) => Layer::Attention(
                    joined(&|cache| cache.attention(index).map(|(keys, _)| keys))?,
                    joined(&|cache| cache.attention(index).map(|(_, values)| values))?,
                ),
                Layer::Recurrent(states) => {
                    Layer::Recurrent((0..states.len()).map(|state| stacked(index, state)).collect::<Result<_, _>>()?)
                }
            })
        };
        let layers = self.layers.iter().enumerate().map(layer).collect::<Result<_, ModelError>>()?;
        let padding = |cache: &Self| -> Vec<usize> { cache.padding.iter().map(|p| p + len - cache.len).collect() };
        Ok(Self {
            layers,
            snapshots: Vec::new(),
            len,
            capacity,
            padding: all().flat_map(padding).collect(),
            next_position: all().flat_map(|cache| cache.next_position.iter().copied()).collect(),
            marks: if all().all(|cache| cache.marks.is_some()) {
                Some(joined(&|cache| cache.marks.as_ref())?)
            } else {
                None
            },
            positions: OnceLock::new(),
        })
    }

    fn attention(&self, layer: usize) -> Option<(&Tensor, &Tensor)> {
        match self.layers.get(layer)? {
            Layer::Attention(keys, values) => Some((keys, values)),
            Layer::Recurrent(_) => None,
        }
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
        let rows = 0..self.padding.len();
        self.marks = self.marks_laid_out(rows.clone(), surplus..self.len, len, capacity)?;
        self.layers = self.laid_out(rows, surplus..self.len, len, capacity)?;
        self.positions = OnceLock::new();
        (self.len, self.capacity) = (len, capacity);
        self.padding.iter_mut().for_each(|p| *p -= surplus);
        Ok(())
    }

    /// A cache of one of the rows, without its padding and without spare capacity.
    pub fn row(&self, row: usize) -> Result<Self, ModelError> {
        let padding = self.padding[row];
        let len = self.len - padding;
        let layers = self.laid_out(row..row + 1, padding..self.len, len, len)?;
        let marks = self.marks_laid_out(row..row + 1, padding..self.len, len, len)?;
        let (padding, next_position, positions) = (vec![0], vec![self.next_position[row]], OnceLock::new());
        Ok(Self { layers, snapshots: Vec::new(), len, capacity: len, padding, next_position, marks, positions })
    }

    /// A cache of one row's first `count` positions with room for `spare` more; `next` is the position id of the next
    /// token. Recurrent layers can only be continued where [`Self::reusable`] says so.
    pub fn prefix(&self, count: usize, next: u32, spare: usize) -> Result<Self, ModelError> {
        let capacity = count + spare;
        let mut layers = self.laid_out(0..1, 0..count, count, capacity)?;
        if count < self.len && self.is_recurrent() {
            let known = self.snapshots.iter().find(|snapshot| snapshot.len == count);
            let known = known.ok_or_else(|| {
                ModelError::Input(format!("the recurrent layers' states after {count} positions were not kept"))
            })?;
            for (layer, states) in layers.iter_mut().zip(&known.states) {
                if let Layer::Recurrent(own) = layer {
                    *own = states.iter().map(Tensor::copy).collect::<candle_core::Result<_>>()?;
                }
            }
        }
        let (padding, next_position, positions) = (vec![0], vec![next], OnceLock::new());
        // Another prompt follows, whose positions have marks of their own.
        let marks = None;
        Ok(Self { layers, snapshots: Vec::new(), len: count, capacity, padding, next_position, marks, positions })
    }

    fn marks_laid_out(
        &self,
        rows: Range<usize>,
        kept: Range<usize>,
        end: usize,
        capacity: usize,
    ) -> Result<Option<Tensor>, ModelError> {
        Ok(self.marks.as_ref().map(|marks| laid(marks, &rows, &kept, end, capacity)).transpose()?)
    }

    /// New tensors of `capacity` positions for some rows; the copied positions `kept` end at position `end`. Recurrent
    /// states are copied as they are.
    fn laid_out(
        &self,
        rows: Range<usize>,
        kept: Range<usize>,
        end: usize,
        capacity: usize,
    ) -> Result<Vec<Layer>, ModelError> {
        let own = |tensor: &Tensor| tensor.narrow(0, rows.start, rows.len());
        let lay = |tensor: &Tensor| laid(tensor, &rows, &kept, end, capacity);
        let layer = |layer: &Layer| -> candle_core::Result<Layer> {
            Ok(match layer {
                Layer::Attention(keys, values) => Layer::Attention(lay(keys)?, lay(values)?),
                Layer::Recurrent(states) => {
                    Layer::Recurrent(states.iter().map(|state| own(state)?.copy()).collect::<Result<_, _>>()?)
                }
            })
        };
        Ok(self.layers.iter().map(layer).collect::<candle_core::Result<_>>()?)
    }
}

/// `capacity` new positions for some rows of a tensor; the copied positions `kept` end at position `end`.
fn laid(
    tensor: &Tensor,
    rows: &Range<usize>,
    kept: &Range<usize>,
    end: usize,
    capacity: usize,
) -> candle_core::Result<Tensor> {
    let fresh = blank(tensor, rows.len(), capacity)?;
    place(&tensor.narrow(0, rows.start, rows.len())?, kept.clone(), &fresh, end)?;
    Ok(fresh)
}

fn unequal() -> ModelError {
    ModelError::Input("only caches of one model can be joined".to_owned())
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
