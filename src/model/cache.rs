//! The KV cache: what every layer remembers of the positions that a batch has processed so far. Layers with attention
//! keep keys and values of each position; recurrent layers keep one state, which stands for all of them.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::error::ModelError;
use super::input::Batch;

/// What a layer keeps, by its kind.
#[derive(Debug, Clone)]
pub enum LayerShape {
    /// Keys and values of each position.
    Attention {
        /// Heads of keys and values.
        kv_heads: usize,
        /// Width of a head.
        head_dim: usize,
    },
    /// Tensors of a fixed size for each row, zero before its first position.
    Recurrent(Vec<Vec<usize>>),
}

/// What a layer holds.
#[derive(Debug, Clone)]
enum Layer {
    /// Keys and values, `[batch, kv heads, capacity, head dim]` each.
    Attention(Tensor, Tensor),
    /// States after the newest position, `[batch, ..]` each.
    Recurrent(Vec<Tensor>),
}

/// A copy of the recurrent states after a number of positions: a state cannot be taken back to an earlier position.
#[derive(Debug, Clone)]
struct Snapshot {
    len: usize,
    /// By layer; empty for layers with attention.
    states: Vec<Vec<Tensor>>,
}

/// A pre-allocated cache.
///
/// A clone shares the storage: only one of the two may be appended to.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<Layer>,
    /// Copies of the recurrent states of a cache of one row.
    snapshots: Vec<Snapshot>,
    len: usize,
    capacity: usize,
    padding: Vec<usize>,
    next_position: Vec<u32>,
}

impl KvCache {
    /// An empty cache for `rows` rows and `capacity` positions.
    pub fn new(layers: &[LayerShape], rows: usize, capacity: usize, device: &Device) -> Result<Self, ModelError> {
        let layer = |shape: &LayerShape| -> candle_core::Result<Layer> {
            Ok(match shape {
                LayerShape::Attention { kv_heads, head_dim } => {
                    // [batch, kv_heads, capacity, head_dim]
                    let zeros = || Tensor::zeros((rows, *kv_heads, capacity, *head_dim), DType::F32, device);
                    Layer::Attention(zeros()?, zeros()?)
                }
                LayerShape::Recurrent(states) => {
                    // [batch, shape of the state]
                    let zeros = |of: &Vec<usize>| Tensor::zeros([&[rows], of.as_slice()].concat(), DType::F32, device);
                    Layer::Recurrent(states.iter().map(zeros).collect::<candle_core::Result<_>>()?)
                }
            })
        };
        Ok(Self {
            layers: layers.iter().map(layer).collect::<candle_core::Result<_>>()?,
            snapshots: Vec::new(),
            len: 0,
            capacity,
            padding: vec![0; rows],
            next_position: vec![0; rows],
        })
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
        let Layer::Attention(keys, values) = &self.layers[layer] else { return Err(wrong_kind(layer)) };
        let store = |all: &Tensor, new: &Tensor| {
            all.slice_set(&new.detach().transpose(1, 2)?.contiguous()?, 2, self.len)?;
            all.narrow(2, 0, self.len + count)?.transpose(1, 2)
        };
        Ok((store(keys, k)?, store(values, v)?))
    }

    /// The states of a recurrent layer after the newest position, which a single token may change in place; at the
    /// beginning they are zero.
    pub(crate) fn states(&self, layer: usize) -> Result<&[Tensor], ModelError> {
        match &self.layers[layer] {
            Layer::Recurrent(states) => Ok(states),
            Layer::Attention(..) => Err(wrong_kind(layer)),
        }
    }

    /// The states of a recurrent layer after the newest position; none for a layer with attention.
    pub fn recurrent(&self, layer: usize) -> Option<&[Tensor]> {
        self.states(layer).ok()
    }

    /// Puts the states of a recurrent layer after a batch in the place of those before it.
    pub(crate) fn set_states(&mut self, layer: usize, new: &[Tensor]) -> Result<(), ModelError> {
        match &mut self.layers[layer] {
            Layer::Recurrent(states) => {
                *states = new.iter().map(|state| state.detach().contiguous()).collect::<candle_core::Result<_>>()?;
                Ok(())
            }
            Layer::Attention(..) => Err(wrong_kind(layer)),
        }
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
        let index: Vec<u32> = rows.iter().map(|r| *r as u32).collect();
        let pick = |t: &Tensor| {
            // [chosen sequences]
            t.index_select(&Tensor::new(index.as_slice(), t.device())?, 0)
        };
        let layer = |layer: &Layer| -> candle_core::Result<Layer> {
            Ok(match layer {
                Layer::Attention(keys, values) => Layer::Attention(pick(keys)?, pick(values)?),
                Layer::Recurrent(states) => Layer::Recurrent(states.iter().map(pick).collect::<Result<_, _>>()?),
            })
        };
        Ok(Self {
            layers: self.layers.iter().map(layer).collect::<candle_core::Result<_>>()?,
            snapshots: Vec::new(),
            len: self.len,
            capacity: self.capacity,
            padding: rows.iter().map(|r| self.padding[*r]).collect(),
            next_position: rows.iter().map(|r| self.next_position[*r]).collect(),
        })
    }

    /// Bytes that are allocated.
    pub fn bytes(&self) -> usize {
        let of = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
        let layer = |layer: &Layer| match layer {
            Layer::Attention(keys, values) => of(keys) + of(values),
            Layer::Recurrent(states) => states.iter().map(of).sum(),
        };
        let copies = self.snapshots.iter().flat_map(|snapshot| snapshot.states.iter().flatten());
        self.layers.iter().map(layer).sum::<usize>() + copies.map(of).sum::<usize>()
    }

    /// Can the cache be continued only where its states were copied?
    pub fn is_recurrent(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer, Layer::Recurrent(_)))
    }

    /// Keeps a copy of the recurrent states as they are now, so that [`Self::prefix`] can continue from here.
    pub fn keep_states(&mut self) -> Result<(), ModelError> {
        if !self.is_recurrent() || self.snapshots.iter().any(|snapshot| snapshot.len == self.len) {
            return Ok(());
        }
        let copy = |layer: &Layer| -> candle_core::Result<Vec<Tensor>> {
            match layer {
                Layer::Attention(..) => Ok(Vec::new()),
                // A copy: decoding changes states in place.
                Layer::Recurrent(states) => states.iter().map(Tensor::copy).collect(),
            }
        };
        let states = self.layers.iter().map(copy).collect::<candle_core::Result<_>>()?;
        self.snapshots.push(Snapshot { len: self.len, states });
        Ok(())
    }

    /// The largest number of positions, at most `count`, after which the cache of one row can be continued.
    pub fn reusable(&self, count: usize) -> usize {
        if !self.is_recurrent() || count >= self.len {
            return count.min(self.len);
        }
        self.snapshots.iter().map(|snapshot| snapshot.len).filter(|len| *len <= count).max().unwrap_or(0)
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
        let (padding, next_position) = (vec![0], vec![self.next_position[row]]);
        Ok(Self { layers, snapshots: Vec::new(), len, capacity: len, padding, next_position })
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
        Ok(Self { layers, snapshots: Vec::new(), len: count, capacity, padding: vec![0], next_position: vec![next] })
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
        let lay = |tensor: &Tensor| -> candle_core::Result<Tensor> {
            let fresh = blank(tensor, rows.len(), capacity)?;
            place(&own(tensor)?, kept.clone(), &fresh, end)?;
            Ok(fresh)
        };
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

fn wrong_kind(layer: usize) -> ModelError {
    ModelError::Input(format!("layer {layer} of the cache is of another kind than the model's"))
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
