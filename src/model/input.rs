//! Model inputs: token rows with their images, and padded batches with their position ids.

use std::sync::Arc;

use super::ModelInfo;
use super::error::ModelError;

/// Size of an image in patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Time steps (1 for a still image).
    pub time: usize,
    /// Patch rows.
    pub height: usize,
    /// Patch columns.
    pub width: usize,
}

impl Grid {
    /// Number of patches.
    pub fn patches(self) -> usize {
        self.time * self.height * self.width
    }

    /// Number of image tokens after merging `merge` x `merge` patches.
    pub fn merged(self, merge: usize) -> usize {
        self.time * (self.height / merge) * (self.width / merge)
    }
}

/// One image as the vision tower takes it: normalised patches in 2x2-merge order.
#[derive(Debug, Clone, PartialEq)]
pub struct ImagePatches {
    /// `[patches, 3 * temporal_patch_size * patch_size^2]`, row-major.
    pub values: Vec<f32>,
    /// Its size in patches.
    pub grid: Grid,
}

/// One row of a batch: tokens, in which every image stands as a run of image tokens, and the images in order.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    /// Token ids, images expanded to one id per merged token.
    pub ids: Vec<u32>,
    /// The images, in the order of their runs.
    pub images: Vec<Arc<ImagePatches>>,
}

/// A left-padded batch: every row ends in the last column.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns, padding included.
    pub columns: usize,
    /// Token ids, row-major `[rows, columns]`; padding holds the pad token.
    pub ids: Vec<u32>,
    /// Columns of padding at the left of each row.
    pub padding: Vec<usize>,
    /// Position ids, row-major `[3 (time, height, width), rows, columns]`.
    pub positions: Vec<u32>,
    /// The position that follows each row's last column.
    pub next_position: Vec<u32>,
    /// Flat indices (`row * columns + column`) of the image tokens, in order.
    pub image_slots: Vec<u32>,
}
