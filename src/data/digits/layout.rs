//! How pictures of digits are laid out.

use super::bank::SIDE;
use crate::data::DataError;

/// How a task's pictures are laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SceneConfig {
    /// The task's name.
    pub name: &'static str,
    /// Rows of cells.
    pub rows: usize,
    /// Columns of cells.
    pub cols: usize,
    /// Side of a cell in pixels.
    pub cell_px: usize,
    /// Side of one of a digit's 28 x 28 pixels.
    pub zoom: usize,
    /// A digit is shifted by at most this many pixels from the middle of its cell, either way; what leaves the cell is
    /// cut.
    pub jitter: usize,
    /// Seed of all rows.
    pub seed: u64,
}

impl SceneConfig {
    /// Positions have names (`top left`) for two rows and two or three columns only.
    pub(super) fn check(&self) -> Result<(), DataError> {
        let named = self.rows == 2 && (2..=3).contains(&self.cols);
        if named && self.zoom > 0 && self.cell_px >= SIDE * self.zoom && self.cell_px <= 1024 {
            return Ok(());
        }
        let problem =
            format!("a layout needs 2 rows, 2 or 3 columns and cells of {SIDE} x zoom to 1024 pixels; got {self:?}");
        Err(DataError::Asset { name: self.name.into(), problem })
    }

    /// Cells of a picture.
    pub fn cells(&self) -> usize {
        self.rows * self.cols
    }
}
