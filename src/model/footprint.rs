//! How many bytes a forward pass and its backward keep alive, from a model's configuration alone: no weights are read.
//!
//! A family counts what its own forward pass keeps (`qwen_vl/footprint.rs`) from what each operation keeps
//! (`kernels/kept.rs`); the tests compare the count with the graph of a real pass, tensor by tensor.

pub use super::kernels::kept::{Arithmetic, VALUE};

use super::ModelInfo;
use super::input::Grid;
use super::linear::LinearShape;

/// A padded batch as far as memory goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PassShape {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// The distinct images.
    pub images: Vec<Grid>,
    /// Image tokens of all rows.
    pub image_slots: usize,
}

impl PassShape {
    /// Tokens, padding included.
    pub fn tokens(&self) -> usize {
        self.rows * self.columns
    }
}

/// Bytes that training one batch keeps alive, up to the final hidden states; the output head is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// The graph of the whole pass.
    pub graph: usize,
    /// With gradient checkpointing: the inputs of every block.
    pub tape: usize,
    /// With gradient checkpointing: the largest graph of one block.
    pub block: usize,
    /// Buffers of the backward pass at its widest, beside the graph.
    pub backward: usize,
}

/// What a family keeps, in bytes.
pub trait Footprint: Send + Sync {
    /// What training keeps; a tower that is not trained keeps nothing.
    fn training(&self, arithmetic: Arithmetic, pass: &PassShape, train_vision: bool) -> Kept;

    /// Most bytes alive at a time in a pass without a graph, result included.
    fn reading(&self, pass: &PassShape) -> usize;

    /// Keys and values of one column of one row, all layers.
    fn cached_per_token(&self) -> usize;

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
}

/// A model folder without its weights.
pub struct ModelSize {
    /// What its passes keep.
    pub passes: Box<dyn Footprint>,
    /// Its parameters.
    pub parameters: ParameterCounts,
    /// Its linear layers, the output head not among them.
    pub linears: Vec<LinearShape>,
    /// Facts.
    pub info: ModelInfo,
}
