//! Activation memory of a forward pass and its backward, from a model's configuration alone: no weights are read.
//!
//! A family counts what its own forward pass keeps (`qwen_vl/footprint.rs`) from what each operation keeps
//! (`kernels/activation_memory.rs`); the tests compare the count with the graph of a real pass, tensor by tensor.

pub use super::kernels::activation_memory::{Arithmetic, VALUE};

use super::ModelInfo;
use super::files::blocks_of;
use super::input::Grid;
use super::linear::LinearShape;
use crate::domain::weights::WeightFormat;

/// The sizes of a padded batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PassShape {
    /// Sequences.
    pub rows: usize,
    /// Columns.
    pub seq_len: usize,
    /// The distinct images.
    pub images: Vec<Grid>,
    /// Image tokens of all rows.
    pub image_slots: usize,
}

impl PassShape {
    /// Tokens, padding included.
    pub fn tokens(&self) -> usize {
        self.rows * self.seq_len
    }
}

/// Bytes that training one batch keeps alive, up to the final hidden states; the output head is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActivationMemory {
    /// The graph of the whole pass.
    pub graph: usize,
    /// With gradient checkpointing: the inputs of every block.
    pub tape: usize,
    /// With gradient checkpointing: the largest graph of one block.
    pub block: usize,
    /// Peak of the backward pass's own buffers, in addition to the graph.
    pub backward: usize,
}

impl ActivationMemory {
    /// Adds what a part of the model keeps; of parts that run one after the other the largest counts.
    pub fn add(&mut self, part: &Self) {
        self.graph += part.graph;
        self.tape += part.tape;
        self.block = self.block.max(part.block);
        self.backward = self.backward.max(part.backward);
    }
}

/// The activation memory of a model family, in bytes.
pub trait Footprint: Send + Sync {
    /// What training keeps; a tower that is not trained keeps nothing.
    fn training(&self, arithmetic: Arithmetic, pass: &PassShape, train_vision: bool) -> ActivationMemory;

    /// Peak memory of a pass without a graph, result included.
    fn reading(&self, arithmetic: Arithmetic, pass: &PassShape) -> usize;

    /// Keys and values of one column of one row, all layers.
    fn cached_per_token(&self, arithmetic: Arithmetic) -> usize;

    /// What is cached of a row whatever its length.
    fn cached_per_row(&self) -> usize {
        0
    }

    /// Rows that a linear layer maps in a pass.
    fn rows_of(&self, layer: &LinearShape, pass: &PassShape) -> usize;
}

/// Parameters of a model folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParameterCounts {
    /// All of them.
    pub all: usize,
    /// Those of the vision tower, mergers included.
    pub vision: usize,
    /// Those of the largest tensor.
    pub largest: usize,
    /// Those of matrices, which stay as narrow as their file has them where they are not trained.
    pub matrices: usize,
    /// Those of matrices that their file has in 16 bits.
    pub narrow: usize,
    /// Those of matrices that can be packed into blocks of integers.
    pub packable: usize,
    /// Those of them that their file has in 16 bits.
    pub narrow_packable: usize,
}

impl ParameterCounts {
    /// Bytes on a CPU where nothing is trained; `rounded`: wider matrices are rounded to 16 bits.
    pub fn frozen_bytes(&self, rounded: bool, format: WeightFormat) -> usize {
        let bytes = |all: usize, narrow: usize| VALUE * (all - narrow) + 2 * narrow;
        let narrow = if rounded { self.matrices } else { self.narrow };
        let Some(blocks) = blocks_of(format) else { return bytes(self.all, narrow) };
        let narrow_packable = if rounded { self.packable } else { self.narrow_packable };
        bytes(self.all - self.packable, narrow - narrow_packable) + blocks.bytes(self.packable)
    }
}

/// Size of a cache and its copy while finished rows are removed from it, in percent of the cache.
const COMPACTION_PERCENT: usize = 175;

/// What one thread samples: prompts that are prefilled together, and the rows that continue each of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SamplingShape {
    /// One prompt.
    pub prompt: PassShape,
    /// Rows of a prompt.
    pub group: usize,
    /// Longest response.
    pub response: usize,
    /// Prompts in all: where not all of them fit at a time, the others join as rows leave.
    pub prompts: usize,
}

/// Bytes of sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SamplingMemory {
    /// Keys, values and states.
    pub cache: usize,
    /// The prefill.
    pub reading: usize,
    /// Logits of all rows, and what a draw makes of them.
    pub logits: usize,
}

impl SamplingMemory {
    /// All of it, while rows are removed from the cache.
    pub fn bytes(&self) -> usize {
        self.cache * COMPACTION_PERCENT / 100 + self.logits + self.reading
    }
}

/// A model folder without its weights.
pub struct ModelSize {
    /// Activation memory of its passes.
    pub passes: Box<dyn Footprint>,
    /// Its parameters.
    pub parameters: ParameterCounts,
    /// Its linear layers, the output head not among them.
    pub linears: Vec<LinearShape>,
    /// Facts.
    pub info: ModelInfo,
}

impl ModelSize {
    /// What sampling needs with this number of prompts at a time.
    pub fn sampling(&self, by: Arithmetic, prompts: usize, shape: &SamplingShape) -> SamplingMemory {
        let rows = prompts * shape.group;
        let prefill = PassShape {
            rows: prompts,
            seq_len: shape.prompt.seq_len,
            images: shape.prompt.images.repeat(prompts),
            image_slots: prompts * shape.prompt.image_slots,
        };
        // Rows that join a running batch are right-aligned: until earlier rows have left, it is longer than the new
        // ones.
        let positions = (shape.prompt.seq_len + shape.response + 1) * if shape.prompts > prompts { 4 } else { 3 } / 3;
        SamplingMemory {
            cache: rows * (positions * self.passes.cached_per_token(by) + self.passes.cached_per_row()),
            reading: self.passes.reading(by, &prefill),
            logits: by.draw(rows, self.info.vocab_size),
        }
    }

    /// The largest number of prompts, at most `most`, that can be sampled at a time in `bytes`; at least one.
    pub fn prompts_within(&self, by: Arithmetic, most: usize, shape: &SamplingShape, bytes: usize) -> usize {
        (2..=most.min(shape.prompts))
            .rev()
            .find(|prompts| self.sampling(by, *prompts, shape).bytes() <= bytes)
            .unwrap_or(1)
    }
}

/// What sampling may use of a device's memory, for a trainer that does not know the device.
pub struct SamplingRoom {
    /// Bytes that are free for all threads together, pixels of the prompts included.
    pub bytes: usize,
    /// The model.
    pub size: ModelSize,
    /// How the device computes.
    pub arithmetic: Arithmetic,
}
