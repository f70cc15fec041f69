//! Draws transparent images on white.

use image::{DynamicImage, RgbImage};

/// The picture in RGB, its transparent parts on white, rounded as Pillow's `alpha_composite` rounds.
pub(super) fn lay(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let clear = picture.into_rgba8();
    let (width, height) = clear.dimensions();
    let mut pixels = clear.into_raw();
    // In place, so that a large image is only in memory once: four bytes are read, three are written.
    let count = pixels.len() / 4;
    for at in 0..count {
        let alpha = u32::from(pixels[at * 4 + 3]);
        for channel in 0..3 {
            pixels[at * 3 + channel] = over_white(pixels[at * 4 + channel], alpha);
        }
    }
    pixels.truncate(count * 3);
    RgbImage::from_raw(width, height, pixels).unwrap_or_default()
}

fn over_white(value: u8, alpha: u32) -> u8 {
    let sum = (u32::from(value) * alpha + 255 * (255 - alpha)) * 128 + (128 << 7);
    (((sum >> 8) + sum) >> 15) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_colours_stay_and_clear_ones_are_white() {
        for value in 0..=255 {
            assert_eq!((over_white(value, 255), over_white(value, 0)), (value, 255));
        }
        assert_eq!((over_white(0, 128), over_white(100, 64), over_white(255, 7)), (127, 216, 255));
    }
}
