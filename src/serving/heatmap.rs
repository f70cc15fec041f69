//! Heat-map pictures: a map's values as colours, smooth between cells, over the image.

use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};

use super::ServingError;
use super::answer::ImageInfo;
use crate::config::serving::{HEATMAP_MAX_SIDE, HEATMAP_MIN_SIDE};
use crate::images;

/// From cold to hot at equal distances; brightness increases throughout, so that the order is preserved in greyscale.
const COLOURS: [[f32; 3]; 6] = [
    [16.0, 18.0, 60.0],
    [72.0, 30.0, 130.0],
    [168.0, 40.0, 120.0],
    [232.0, 84.0, 62.0],
    [252.0, 166.0, 44.0],
    [255.0, 244.0, 170.0],
];
/// Opacity of the coldest and the hottest colour.
const COVER: [f32; 2] = [0.4, 0.75];

/// A PNG picture of `heat` (row by row, 0 coldest, 1 hottest), drawn over the image if one is given.
///
/// # Errors
/// A picture that cannot be encoded.
pub fn png(image: Option<&RgbImage>, info: &ImageInfo, heat: &[f32]) -> Result<Vec<u8>, ServingError> {
    let (width, height) = size(info.processed);
    let under = image.map(|image| resize(image, width, height, FilterType::CatmullRom));
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let t = sample(heat, info, (x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32);
        let colour = colour(t);
        let Some(under) = &under else { return Rgb(colour.map(|c| c as u8)) };
        let cover = COVER[0] + (COVER[1] - COVER[0]) * t;
        let below = brightness(under.get_pixel(x, y).0.map(f32::from));
        Rgb(colour.map(|c| (c * cover + below * (1.0 - cover)).round() as u8))
    });
    images::png(&picture).map_err(|error| ServingError::Engine(format!("drawing a heat map: {error}")))
}

/// Size of the picture: the image's aspect ratio, large enough to look at and small enough to send.
fn size([width, height]: [u32; 2]) -> (u32, u32) {
    let longer = width.max(height).max(1);
    let wanted = if longer < HEATMAP_MIN_SIDE {
        // Whole multiples keep the pixels of small images equal in size.
        longer * HEATMAP_MIN_SIDE.div_ceil(longer)
    } else {
        longer.min(HEATMAP_MAX_SIDE)
    };
    let scaled = |side: u32| (u64::from(side) * u64::from(wanted) / u64::from(longer)).max(1) as u32;
    (scaled(width), scaled(height))
}

/// The map at a point of the picture (both in [0, 1]), bilinear between the centres of cells.
fn sample(heat: &[f32], info: &ImageInfo, x: f32, y: f32) -> f32 {
    let at = |row: usize, col: usize| heat.get(row * info.cols + col).copied().unwrap_or(0.0);
    let place = |p: f32, cells: usize| {
        let p = (p * cells as f32 - 0.5).clamp(0.0, (cells - 1) as f32);
        let low = p.floor() as usize;
        (low, (low + 1).min(cells - 1), p - low as f32)
    };
    let (left, right, fx) = place(x, info.cols.max(1));
    let (top, bottom, fy) = place(y, info.rows.max(1));
    let mix = |a: f32, b: f32, f: f32| a + (b - a) * f;
    mix(mix(at(top, left), at(top, right), fx), mix(at(bottom, left), at(bottom, right), fx), fy)
}

/// Perceived brightness of a colour. The image itself is drawn in grey, so that all colour in the picture is heat.
fn brightness(colour: [f32; 3]) -> f32 {
    colour.iter().zip([0.30, 0.59, 0.11]).map(|(c, w)| c * w).sum()
}

fn colour(t: f32) -> [f32; 3] {
    let p = t.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f32;
    let low = (p as usize).min(COLOURS.len() - 2);
    std::array::from_fn(|i| COLOURS[low][i] + (COLOURS[low + 1][i] - COLOURS[low][i]) * (p - low as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(rows: usize, cols: usize, processed: [u32; 2]) -> ImageInfo {
        ImageInfo { rows, cols, original: processed, processed, cell_px: 28 }
    }

    #[test]
    fn a_picture_is_large_enough_and_hot_where_the_map_is() {
        let bytes = png(None, &info(2, 2, [56, 84]), &[0.0, 1.0, 0.0, 0.0]).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (336, 504));
        assert_eq!(picture.get_pixel(335, 0).0, [255, 244, 170]);
        assert_eq!(picture.get_pixel(0, 503).0, [16, 18, 60]);
    }

    #[test]
    fn brightness_rises_with_heat() {
        let at = |step: i32| brightness(colour(step as f32 / 100.0));
        for step in 0..100 {
            assert!(at(step) < at(step + 1), "at {step}");
        }
    }

    #[test]
    fn huge_images_are_reduced() {
        assert_eq!(size([3000, 1500]), (896, 448));
        assert_eq!(size([600, 448]), (600, 448));
    }
}
