//! The KV cache: what every layer remembers of the positions that a batch has processed so far. Layers with attention
//! keep keys and values of each position; recurrent layers keep one state, which stands for all of them.

mod rows;

use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};

use super::error::ModelError;
use super::input::Batch;
use super::kernels::AttentionMask;
use super::transfers::{is_gpu, up};

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
    /// Which positions hold image tokens, and which the prompt, `[batch, 1, capacity, 2]`; none until it is asked for.
    marks: Option<Tensor>,
    /// `[capacity]`: 0, 1, 2, ... on a GPU, from when it is first asked for.
    positions: OnceLock<Tensor>,
}

impl KvCache {
    /// An empty cache for `rows` rows and `capacity` positions: 16 bits a number of keys and values on a GPU, whose
    /// memory is small, 32 on a CPU, which would widen them for every product.
    pub fn new(layers: &[LayerShape], rows: usize, capacity: usize, device: &Device) -> Result<Self, ModelError> {
        let format = if device.is_cpu() { DType::F32 } else { DType::BF16 };
        Self::in_format(format, layers, rows, capacity, device)
    }

    /// The same with keys and values in a chosen format.
    pub fn in_format(
        format: DType,
        layers: &[LayerShape],
        rows: usize,
        capacity: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let layer = |shape: &LayerShape| -> candle_core::Result<Layer> {
            Ok(match shape {
                LayerShape::Attention { kv_heads, head_dim } => {
                    // [batch, kv_heads, capacity, head_dim]
                    let zeros = || Tensor::zeros((rows, *kv_heads, capacity, *head_dim), format, device);
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
            marks: None,
            positions: OnceLock::new(),
        })
    }

    /// Notes which positions hold the prompts of the batch that is read first, and which of them image tokens.
    pub(crate) fn mark_prompts(&mut self, batch: &Batch) -> Result<(), ModelError> {
        let width = 2 * self.capacity;
        let mut values = vec![0.0_f32; batch.rows * width];
        for (row, padding) in values.chunks_exact_mut(width).zip(&batch.padding) {
            row[2 * padding..2 * batch.seq_len].chunks_exact_mut(2).for_each(|marks| marks[1] = 1.0);
        }
        for slot in &batch.image_slots {
            let (row, position) = (*slot as usize / batch.seq_len, *slot as usize % batch.seq_len);
            values[row * width + 2 * position] = 1.0;
        }
        // [batch, 1, capacity, image and prompt]
        let shape = (batch.rows, 1, self.capacity, 2);
        self.marks = Some(up("prompt marks", values, shape, &self.device()?)?);
        Ok(())
    }

    /// The marks `[batch, positions, 2]` of [`Self::mark_prompts`] for the positions in use and `more`.
    pub(crate) fn marks(&self, more: usize) -> Result<Option<Tensor>, ModelError> {
        let used = |marks: &Tensor| marks.squeeze(1)?.narrow(1, 0, self.len + more);
        Ok(self.marks.as_ref().map(used).transpose()?)
    }

    /// The attention mask of a batch that continues the cache.
    pub(crate) fn attention_mask(&self, batch: &Batch) -> Result<AttentionMask, ModelError> {
        let padding = if self.is_empty() { batch.padding.clone() } else { self.padding.clone() };
        Ok(AttentionMask::causal(self.len, padding).with_positions(self.positions()?))
    }

    fn device(&self) -> Result<Device, ModelError> {
        let first = self.layers.iter().find_map(|layer| match layer {
            Layer::Attention(keys, _) => Some(keys),
            Layer::Recurrent(states) => states.first(),
        });
        first
            .map(|tensor| tensor.device().clone())
            .ok_or_else(|| ModelError::Input("a cache without layers".to_owned()))
    }

    /// On a GPU 0, 1, 2, ... for every position that fits, from which masks are made.
    fn positions(&self) -> Result<Option<&Tensor>, ModelError> {
        let device = self.device()?;
        if !is_gpu(&device) {
            return Ok(None);
        }
        if self.positions.get().is_none() {
            let made = up("positions", (0..self.capacity as u32).collect(), self.capacity, &device)?;
            return Ok(Some(self.positions.get_or_init(|| made)));
        }
        Ok(self.positions.get())
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
            all.slice_set(&new.detach().transpose(1, 2)?.to_dtype(all.dtype())?.contiguous()?, 2, self.len)?;
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
        // [chosen sequences]
        let index = up("chosen rows", index, rows.len(), &self.device()?)?;
        let pick = |t: &Tensor| t.index_select(&index, 0);
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
            marks: self.marks.as_ref().map(pick).transpose()?,
            positions: self.positions.clone(),
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
}

fn wrong_kind(layer: usize) -> ModelError {
    ModelError::Input(format!("layer {layer} of the cache is of another kind than the model's"))
}
