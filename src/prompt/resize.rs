//! Antialiased resizing with the same arithmetic as Pillow, which vision-language checkpoints were trained with.
//!
//! Keys' cubic with a = -0.5, or a triangle, its support widened by the scale when shrinking; weights in fixed point;
//! the horizontal pass first, its result rounded and clamped to 8 bits before the vertical pass. A float implementation
//! would not clip the overshoot at hard edges between the passes.

use image::RgbImage;
use rayon::prelude::*;

const A: f64 = -0.5;
/// Fraction bits of the weights: 8 bits of value and 2 of headroom for overshoot leave 22 of 32.
const PRECISION: u32 = 22;

/// The weight of a pixel by its distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Falls linearly to 0 at distance 1.
    Bilinear,
    /// Keys' cubic: reaches to distance 2 and overshoots at edges.
    Bicubic,
}

impl Filter {
    fn radius(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        match self {
            Self::Bilinear => (1.0 - distance.abs()).max(0.0),
            Self::Bicubic => cubic(distance),
        }
    }
}

/// The input pixels of one output pixel, and their weights in fixed point.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// [`resize`] with [`Filter::Bicubic`].
pub fn resize_bicubic(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    resize(image, width, height, Filter::Bicubic)
}

/// Resizes to `width` x `height` (both at least 1); the same size returns the same pixels.
pub fn resize(image: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let (from_width, from_height) = image.dimensions();
    let (from_width, from_height) = (from_width as usize, from_height as usize);
    let (to_width, to_height) = (width.max(1) as usize, height.max(1) as usize);
    let wide = if to_width == from_width {
        image.as_raw().clone()
    } else {
        horizontal(image.as_raw(), from_width, &taps(from_width, to_width, filter))
    };
    let done = if to_height == from_height {
        wide
    } else {
        vertical(&wide, to_width * 3, &taps(from_height, to_height, filter))
    };
    RgbImage::from_raw(to_width as u32, to_height as u32, done).unwrap_or_else(|| image.clone())
}

fn horizontal(pixels: &[u8], from: usize, taps: &[Taps]) -> Vec<u8> {
    let to = taps.len();
    let rows = pixels.len() / (from * 3);
    let mut out = vec![0; rows * to * 3];
    out.par_chunks_exact_mut(to * 3).zip(pixels.par_chunks_exact(from * 3)).for_each(|(out, row)| {
        for (pixel, tap) in out.chunks_exact_mut(3).zip(taps) {
            let mut sums = [1i32 << (PRECISION - 1); 3];
            let inputs = row[tap.first * 3..].chunks_exact(3);
            for (input, weight) in inputs.zip(&tap.weights) {
                for (sum, value) in sums.iter_mut().zip(input) {
                    *sum += i32::from(*value) * weight;
                }
            }
            for (value, sum) in pixel.iter_mut().zip(sums) {
                *value = to_byte(sum);
            }
        }
    });
    out
}

fn vertical(pixels: &[u8], stride: usize, taps: &[Taps]) -> Vec<u8> {
    let mut out = vec![0; taps.len() * stride];
    out.par_chunks_exact_mut(stride).zip(taps).for_each(|(out, tap)| {
        let mut sums = vec![1i32 << (PRECISION - 1); stride];
        for (row, weight) in pixels[tap.first * stride..].chunks_exact(stride).zip(&tap.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        for (value, sum) in out.iter_mut().zip(sums) {
            *value = to_byte(sum);
        }
    });
    out
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Weights of all output pixels of one axis.
fn taps(from: usize, to: usize, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.radius() * stretch;
    (0..to)
        .map(|out| {
            let center = (out as f64 + 0.5) * scale;
            // Half-open range of pixels whose centres are within the support, clipped at the image's border.
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let raw: Vec<f64> =
                (first..end).map(|pixel| filter.weight((pixel as f64 - center + 0.5) / stretch)).collect();
            let total: f64 = raw.iter().sum();
            let fixed = |w: &f64| (w / total * f64::from(1u32 << PRECISION)).round() as i32;
            Taps { first, weights: raw.iter().map(fixed).collect() }
        })
        .collect()
}

fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
