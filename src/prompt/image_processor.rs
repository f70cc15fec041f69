//! Converts pixels to patches like `Qwen2VLImageProcessor`.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::PromptError;
use super::image_settings::{ImageSettings, PIXELS};
use super::resize::resize_bicubic;
use crate::model::{Grid, ImageInput, ImagePatches};

/// The longest side may be this many times the shortest.
const MAX_RATIO: f64 = 200.0;

/// The size that an image is resized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetSize {
    /// Height in pixels, a multiple of the factor.
    pub height: u32,
    /// Width in pixels, a multiple of the factor.
    pub width: u32,
}

/// The size rule: both sides to multiples of `factor` (halves to even), the area within `min_pixels..=max_pixels`, the
/// proportions roughly kept.
///
/// Errors when a side is 0, when the sides' ratio is above 200, or when the limits contradict each other.
pub fn smart_resize(
    height: u32,
    width: u32,
    factor: u32,
    min_pixels: u64,
    max_pixels: u64,
) -> Result<TargetSize, PromptError> {
    if factor == 0 || min_pixels == 0 || min_pixels > max_pixels {
        return Err(PromptError::Limits(format!(
            "min_pixels is {min_pixels} and max_pixels is {max_pixels}: the first must be at least 1 and at most the \
            second"
        )));
    }
    let (h, w, f) = (f64::from(height), f64::from(width), f64::from(factor));
    let (long, short) = (h.max(w), h.min(w));
    if short < 1.0 || long / short > MAX_RATIO {
        return Err(PromptError::Image(format!(
            "has {width} x {height} pixels: one side may be at most {MAX_RATIO} times the other; crop or pad it"
        )));
    }
    let (min, max) = (min_pixels as f64, max_pixels as f64);
    let mut target_h = (h / f).round_ties_even() * f;
    let mut target_w = (w / f).round_ties_even() * f;
    if target_h * target_w > max {
        let beta = (h * w / max).sqrt();
        target_h = f.max((h / beta / f).floor() * f);
        target_w = f.max((w / beta / f).floor() * f);
    } else if target_h * target_w < min {
        let beta = (min / (h * w)).sqrt();
        target_h = (h * beta / f).ceil() * f;
        target_w = (w * beta / f).ceil() * f;
    }
    Ok(TargetSize { height: target_h as u32, width: target_w as u32 })
}

/// Width and height to which `Qwen2.5-VL` resizes an image of `[width, height]` with its default limits; none for an
/// image that it rejects.
pub fn usual_size([width, height]: [u32; 2]) -> Option<[u32; 2]> {
    let target = smart_resize(height, width, 28, PIXELS[0], PIXELS[1]).ok()?;
    Some([target.width, target.height])
}

/// The sizes of images for rewards, without a model's own limits: the original and the resized ones. Given sizes take
/// precedence over those of the images.
pub fn usual_sizes(images: &[Arc<RgbImage>], given: &[[u32; 2]], resized: &[[u32; 2]]) -> [Vec<[u32; 2]>; 2] {
    let told = |sizes: &[[u32; 2]]| (!sizes.is_empty()).then(|| sizes.to_vec());
    let own = || images.iter().map(|image| [image.width(), image.height()]).collect::<Vec<_>>();
    let sizes = told(given).unwrap_or_else(own);
    let resized = told(resized).unwrap_or_else(|| sizes.iter().map_while(|size| usual_size(*size)).collect());
    [sizes, resized]
}

/// Resizes and normalises images, and splits them into patches.
#[derive(Debug, Clone)]
pub struct ImageProcessor {
    patch: usize,
    merge: usize,
    temporal: usize,
    min_pixels: u64,
    max_pixels: u64,
    /// Normalised value of each byte, per channel.
    table: [[f32; 256]; 3],
    notes: Vec<String>,
}

impl ImageProcessor {
    /// Reads a folder's image settings, with the defaults of `Qwen2VLImageProcessor`. Their patch sizes must be the
    /// model's.
    pub fn from_dir(dir: &Path, model: &ImageInput) -> Result<Self, PromptError> {
        let settings = ImageSettings::read(dir, model)?;
        let [min_pixels, max_pixels] = settings.pixels;
        let table = std::array::from_fn(|c| {
            let (mean, std) = (settings.mean[c] * 255.0, settings.std[c] * 255.0);
            std::array::from_fn(|value| (value as f32 - mean) / std)
        });
        let (patch, merge, temporal) = (model.patch_size, model.merge_size, model.temporal_patch_size);
        Ok(Self { patch, merge, temporal, min_pixels, max_pixels, table, notes: settings.notes })
    }

    /// Notes on unused settings, for the user who registers the model.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Side in pixels of the area of one image token.
    pub fn cell_px(&self) -> u32 {
        (self.patch * self.merge) as u32
    }

    /// The size that an image of this size is resized to; `min_pixels` and `max_pixels` replace the checkpoint's own
    /// limits.
    pub fn target_size(
        &self,
        width: u32,
        height: u32,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<TargetSize, PromptError> {
        // If only one limit is given, the checkpoint's other one is adjusted so that they do not conflict.
        let min = min_pixels.unwrap_or_else(|| self.min_pixels.min(max_pixels.unwrap_or(u64::MAX)));
        let max = max_pixels.unwrap_or_else(|| self.max_pixels.max(min));
        smart_resize(height, width, self.cell_px(), min, max)
    }

    /// Resizes an image to a size that [`ImageProcessor::target_size`] gave, normalises it and splits it into patches.
    ///
    /// Patches are in merge order: rows and columns of merged tokens, then the `merge` x `merge` patches inside each. A
    /// patch holds channel, identical frames, rows and columns, in this order.
    pub fn patches(&self, image: &RgbImage, target: TargetSize) -> ImagePatches {
        let resized = resize_bicubic(image, target.width, target.height);
        let (patch, merge) = (self.patch, self.merge);
        let (rows, cols) = (target.height as usize / patch, target.width as usize / patch);
        let stride = target.width as usize * 3;
        let pixels = resized.as_raw();
        let mut values = Vec::with_capacity(rows * cols * 3 * self.temporal * patch * patch);
        for_each_in_merge_order(rows, cols, merge, |row, col| {
            for (channel, table) in self.table.iter().enumerate() {
                let start = values.len();
                for y in row * patch..(row + 1) * patch {
                    let line = &pixels[y * stride + col * patch * 3..][..patch * 3];
                    values.extend(line.iter().skip(channel).step_by(3).map(|v| table[usize::from(*v)]));
                }
                for _ in 1..self.temporal {
                    values.extend_from_within(start..start + patch * patch);
                }
            }
        });
        ImagePatches { values, grid: Grid { time: 1, height: rows, width: cols } }
    }
}

fn for_each_in_merge_order(rows: usize, cols: usize, merge: usize, mut visit: impl FnMut(usize, usize)) {
    for token_row in 0..rows / merge {
        for token_col in 0..cols / merge {
            for inner_row in 0..merge {
                for inner_col in 0..merge {
                    visit(token_row * merge + inner_row, token_col * merge + inner_col);
                }
            }
        }
    }
}
