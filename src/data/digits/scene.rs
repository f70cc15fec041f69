//! A picture of several digits.

use image::{Rgb, RgbImage};

use super::bank::{DigitBank, SIDE};
use super::layout::SceneConfig;
use super::question::{self, Question};
use crate::data::Split;
use crate::data::random::Rng;

/// A picture, what it shows and what is asked about it.
#[derive(Debug, Clone)]
pub struct Scene {
    /// White digits on black.
    pub image: RgbImage,
    /// The digits, cell by cell in reading order.
    pub digits: Vec<u8>,
    /// Which of the built-in digit images is in each cell.
    pub sources: Vec<usize>,
    /// The question.
    pub question: Question,
}

/// Draws a scene.
pub(super) fn generate(config: &SceneConfig, bank: &DigitBank, split: Split, rng: &mut Rng) -> Scene {
    let (image, sources) = paint(config, bank, split, rng);
    let digits: Vec<u8> = sources.iter().map(|source| bank.label(*source)).collect();
    let question = question::draw(config, rng);
    Scene { image, digits, sources, question }
}

/// Fills the cells with digit images of a split, drawn by lot; tells which image is in each cell.
pub(in crate::data) fn paint(
    config: &SceneConfig,
    bank: &DigitBank,
    split: Split,
    rng: &mut Rng,
) -> (RgbImage, Vec<usize>) {
    let pool = bank.images(split);
    let (width, height) = (config.cols * config.cell_px, config.rows * config.cell_px);
    let mut image = RgbImage::new(width as u32, height as u32);
    let mut sources = Vec::with_capacity(config.cells());
    for cell in 0..config.cells() {
        let source = pool[rng.below(pool.len())];
        let mut shift = || rng.below(2 * config.jitter + 1) as isize - config.jitter as isize;
        let offset = (shift(), shift());
        draw(config, bank, &mut image, (cell % config.cols, cell / config.cols), offset, source);
        sources.push(source);
    }
    (image, sources)
}

fn draw(
    config: &SceneConfig,
    bank: &DigitBank,
    image: &mut RgbImage,
    (col, row): (usize, usize),
    (right, down): (isize, isize),
    source: usize,
) {
    let side = SIDE * config.zoom;
    let margin = ((config.cell_px - side) / 2) as isize;
    // The position of a cell's pixel in the enlarged digit, if it is inside.
    let inside = |at: usize, shift: isize| {
        let at = usize::try_from(at as isize - margin - shift).ok()?;
        (at < side).then_some(at / config.zoom)
    };
    for y in 0..config.cell_px {
        for x in 0..config.cell_px {
            let (Some(from_x), Some(from_y)) = (inside(x, right), inside(y, down)) else { continue };
            let value = bank.pixel(source, from_x, from_y);
            let (x, y) = (col * config.cell_px + x, row * config.cell_px + y);
            image.put_pixel(x as u32, y as u32, Rgb([value; 3]));
        }
    }
}
