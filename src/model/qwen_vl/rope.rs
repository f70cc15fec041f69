//! Rotary embeddings: sectioned (time, height, width) for the decoder, axial for the vision tower.

use std::ops::RangeInclusive;

use candle_core::Device;

use super::config::{RopeScaling, Rotary, TextConfig, VisionConfig, Yarn};
use crate::model::error::ModelError;
use crate::model::input::{Batch, Grid};
use crate::model::kernels::Rope;
use crate::model::transfers::up;

/// Base of the vision tower's frequencies.
pub(super) const VISION_THETA: f64 = 10_000.0;

fn frequencies(theta: f64, dim: usize) -> Vec<f64> {
    (0..dim / 2).map(|i| 1.0 / theta.powf(2.0 * i as f64 / dim as f64)).collect()
}

/// The decoder's frequencies, stretched as its configuration says, and what cosines and sines are multiplied with.
fn scaled_frequencies(rotary: &Rotary) -> (Vec<f64>, f64) {
    let frequencies = frequencies(rotary.theta, rotary.dim);
    match rotary.scaling {
        RopeScaling::Default => (frequencies, 1.0),
        RopeScaling::Linear(factor) => (frequencies.iter().map(|f| f / factor).collect(), 1.0),
        RopeScaling::Yarn(yarn) => {
            let (first, last) = yarn_bounds(&yarn, rotary);
            let stretch = |(i, f): (usize, &f64)| {
                let share = ((i as f64 - first) / (last - first)).clamp(0.0, 1.0);
                f / yarn.factor * share + f * (1.0 - share)
            };
            (frequencies.iter().enumerate().map(stretch).collect(), yarn.attention_factor)
        }
    }
}

/// From which frequency on `YaRN` begins to stretch, and from which on it does in full.
fn yarn_bounds(yarn: &Yarn, rotary: &Rotary) -> (f64, f64) {
    let dim = rotary.dim as f64;
    let turning =
        |turns: f64| dim * (yarn.original_length / (turns * std::f64::consts::TAU)).ln() / (2.0 * rotary.theta.ln());
    let (mut first, mut last) = (turning(yarn.beta_fast), turning(yarn.beta_slow));
    if yarn.truncate {
        (first, last) = (first.floor(), last.ceil());
    }
    (first, last) = (first.max(0.0), last.min(dim - 1.0));
    // Equal bounds would divide by zero.
    if first.total_cmp(&last).is_eq() { (first, last + 0.001) } else { (first, last) }
}

/// Cosines and sines by position id, so that each angle is computed once per forward pass, and a decode step only
/// computes its own.
struct Table {
    first: u32,
    width: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Table {
    /// Cosines and sines times `scale`.
    fn new(positions: RangeInclusive<u32>, frequencies: &[f64], scale: f64) -> Self {
        let (first, scale) = (*positions.start(), scale as f32);
        let angles = positions.flat_map(|p| frequencies.iter().map(move |f| p as f32 * *f as f32));
        let (cos, sin) = angles.map(|a| (a.cos() * scale, a.sin() * scale)).unzip();
        Self { first, width: frequencies.len(), cos, sin }
    }

    fn at(&self, position: u32, index: usize) -> (f32, f32) {
        let at = (position - self.first) as usize * self.width + index;
        (self.cos[at], self.sin[at])
    }
}

/// The rotary table of a batch's positions (mRoPE, Qwen2-VL section 2.1): the first
/// frequencies follow time, the next height, the last width; Qwen3-VL interleaves them.
pub fn text_rope(config: &TextConfig, batch: &Batch, device: &Device) -> Result<Rope, ModelError> {
    rotary_table(&config.rotary(), batch, device)
}

/// The same for any decoder whose positions are in time, height and width.
pub fn rotary_table(rotary: &Rotary, batch: &Batch, device: &Device) -> Result<Rope, ModelError> {
    let half = rotary.dim / 2;
    let (smallest, largest) =
        batch.position_ids.iter().fold((u32::MAX, 0), |(low, high), p| (low.min(*p), high.max(*p)));
    let (frequencies, scale) = scaled_frequencies(rotary);
    let table = Table::new(smallest.min(largest)..=largest, &frequencies, scale);
    let axis = |i: usize| axis(rotary, i);
    let plane = batch.rows * batch.seq_len;
    let mut cos = Vec::with_capacity(plane * half);
    let mut sin = Vec::with_capacity(plane * half);
    for slot in 0..plane {
        for i in 0..half {
            let (c, s) = table.at(batch.position_ids[axis(i) * plane + slot], i);
            cos.push(c);
            sin.push(s);
        }
    }
    // [batch, seq_len, rotated dims / 2]
    let shape = (batch.rows, batch.seq_len, half);
    Ok(Rope::new(&up("rotary table", cos, shape, device)?, &up("rotary table", sin, shape, device)?)?)
}

/// Which axis (time 0, height 1, width 2) frequency `i` follows.
fn axis(rotary: &Rotary, i: usize) -> usize {
    let [time, height, width] = rotary.section;
    if !rotary.interleaved {
        return if i < time { 0 } else { 1 + usize::from(i >= time + height) };
    }
    match i % 3 {
        1 if i < 3 * height => 1,
        2 if i < 3 * width => 2,
        _ => 0,
    }
}

/// Patch coordinates (row, column) of one image in 2x2-merge order.
pub fn patch_coordinates(grid: Grid, merge: usize) -> Vec<(u32, u32)> {
    let mut out = Vec::with_capacity(grid.patches());
    for _ in 0..grid.time {
        for block_row in 0..grid.height / merge {
            for block_column in 0..grid.width / merge {
                for row in 0..merge {
                    for column in 0..merge {
                        out.push(((block_row * merge + row) as u32, (block_column * merge + column) as u32));
                    }
                }
            }
        }
    }
    out
}

/// The rotary table of an image whose patches, numbered in merge order, are in `order`: half of the frequencies follow
/// the row, half the column.
pub fn vision_rope(config: &VisionConfig, grid: Grid, order: &[u32], device: &Device) -> Result<Rope, ModelError> {
    let head_dim = config.hidden_size / config.heads;
    let frequencies = frequencies(VISION_THETA, head_dim / 2);
    let quarter = frequencies.len();
    let table = Table::new(0..=grid.height.max(grid.width) as u32, &frequencies, 1.0);
    let coordinates = patch_coordinates(grid, config.merge_size);
    let mut cos = Vec::with_capacity(order.len() * 2 * quarter);
    let mut sin = Vec::with_capacity(order.len() * 2 * quarter);
    for patch in order {
        let (row, column) = coordinates[*patch as usize];
        for i in 0..2 * quarter {
            let (c, s) = if i < quarter { table.at(row, i) } else { table.at(column, i - quarter) };
            cos.push(c);
            sin.push(s);
        }
    }
    // [1, patches, head_dim / 2]
    let shape = (1, order.len(), 2 * quarter);
    Ok(Rope::new(&up("rotary table", cos, shape, device)?, &up("rotary table", sin, shape, device)?)?)
}
