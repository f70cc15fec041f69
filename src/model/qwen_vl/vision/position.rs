//! Qwen3-VL's learned positions: a square grid, interpolated to the image's size.

use candle_core::{DType, Device, Tensor};

use crate::model::error::ModelError;
use crate::model::input::Grid;
use crate::model::qwen_vl::rope::patch_coordinates;

/// The two cells of the grid next to a patch, along one side, and the weight of the second.
fn between(position: u32, patches: usize, side: usize) -> (u32, u32, f32) {
    if patches < 2 {
        return (0, 0, 0.0);
    }
    // The corners of image and grid are aligned.
    let at = position as f32 * ((side - 1) as f32 / (patches - 1) as f32);
    let low = (at.floor() as usize).min(side - 1);
    (low as u32, (low + 1).min(side - 1) as u32, at - low as f32)
}

/// Positions `[patches, width]` of an image in merge order, from `grid` `[side * side, width]` by bilinear
/// interpolation.
pub fn interpolate(
    table: &Tensor,
    side: usize,
    grid: Grid,
    merge: usize,
    device: &Device,
) -> Result<Tensor, ModelError> {
    let patches = grid.patches();
    let mut cells: [_; 4] = std::array::from_fn(|_| Vec::with_capacity(patches));
    let mut shares: [_; 4] = std::array::from_fn(|_| Vec::with_capacity(patches));
    for (row, column) in patch_coordinates(grid, merge) {
        let (top, bottom, down) = between(row, grid.height, side);
        let (left, right, across) = between(column, grid.width, side);
        let corners = [
            (top, left, (1.0 - down) * (1.0 - across)),
            (top, right, (1.0 - down) * across),
            (bottom, left, down * (1.0 - across)),
            (bottom, right, down * across),
        ];
        for (corner, (row, column, share)) in corners.into_iter().enumerate() {
            cells[corner].push(row * side as u32 + column);
            shares[corner].push(share);
        }
    }
    let mut sum: Option<Tensor> = None;
    for (cells, shares) in cells.into_iter().zip(shares) {
        // [patches] cells and [patches, 1] shares of the table's [cells, hidden]
        let found = table.index_select(&Tensor::from_vec(cells, patches, device)?, 0)?.to_dtype(DType::F32)?;
        let part = found.broadcast_mul(&Tensor::from_vec(shares, (patches, 1), device)?)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => (sum + part)?,
        });
    }
    sum.ok_or_else(|| ModelError::Input("an image without patches has no positions".to_owned()))
}
