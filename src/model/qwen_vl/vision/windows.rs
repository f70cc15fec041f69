//! Attention windows of Qwen2.5-VL's tower.

use crate::model::input::Grid;

/// Which merged tokens share an attention window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// The merged tokens in window order.
    pub index: Vec<u32>,
    /// Bounds of the windows in patches, from 0 to the number of patches; empty windows are dropped.
    pub bounds: Vec<usize>,
}

/// Windows of one image: `window` x `window` merged tokens, cut off at the right and bottom edge.
pub fn windows(grid: Grid, merge: usize, window: usize) -> Windows {
    let (rows, columns) = (grid.height / merge, grid.width / merge);
    let mut index = Vec::with_capacity(grid.time * rows * columns);
    let mut bounds = vec![0];
    for time in 0..grid.time {
        for top in (0..rows).step_by(window) {
            for left in (0..columns).step_by(window) {
                for row in top..rows.min(top + window) {
                    let start = (time * rows + row) * columns;
                    index.extend((left..columns.min(left + window)).map(|c| (start + c) as u32));
                }
                bounds.push(index.len() * merge * merge);
            }
        }
    }
    Windows { index, bounds }
}

impl Windows {
    /// For each merged token its place in window order.
    pub fn places(&self) -> Vec<u32> {
        let mut places = vec![0_u32; self.index.len()];
        for (position, token) in self.index.iter().enumerate() {
            places[*token as usize] = position as u32;
        }
        places
    }
}
