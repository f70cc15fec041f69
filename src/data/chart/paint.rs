//! A bar chart as a picture.

use image::RgbImage;

use super::scene::{ChartScene, HUES, LINES};
use crate::data::draw::{Canvas, Colour, FINE, INK, text_width};

const COLOURS: [Colour; HUES] =
    [[66, 110, 190], [221, 122, 50], [80, 150, 80], [190, 70, 80], [130, 100, 170], [110, 110, 110]];
const GRID: Colour = [205, 205, 210];
/// Side of a picture in pixels.
const SIDE: u32 = 224;
/// The plot in pixels: left, right and the two ends of the axis.
const LEFT: i32 = 42;
const RIGHT: i32 = 218;
const TOP: i32 = 16;
const BOTTOM: i32 = 196;
/// Sides of the dots of letters in quarters of a pixel: numbers of the axis, names of bars.
const NUMBER: i32 = 6;
const NAME: i32 = 8;

/// Draws the chart.
pub(super) fn paint(scene: &ChartScene) -> RgbImage {
    let mut canvas = Canvas::new(SIDE, SIDE);
    let top = (scene.step * LINES) as i32;
    let height = |value: u32| BOTTOM * FINE - value as i32 * (BOTTOM - TOP) * FINE / top;
    for line in 0..=LINES {
        let (value, y) = (line * scene.step, height(line * scene.step));
        canvas.rect((LEFT * FINE, y - 2), (RIGHT * FINE, y + 2), GRID);
        canvas.rect(((LEFT - 4) * FINE, y - 2), (LEFT * FINE, y + 2), INK);
        let label = value.to_string();
        let centre = ((LEFT - 7) * FINE - text_width(&label, NUMBER) / 2, y);
        canvas.text(&label, centre, NUMBER, INK);
    }
    let slot = (RIGHT - LEFT) * FINE / scene.values.len() as i32;
    for (bar, value) in scene.values.iter().enumerate() {
        let middle = LEFT * FINE + bar as i32 * slot + slot / 2;
        let half = slot * 32 / 100;
        let colour = COLOURS[(scene.hue + bar) % HUES];
        canvas.rect((middle - half, height(*value)), (middle + half, BOTTOM * FINE), colour);
        canvas.text(ChartScene::name(bar), (middle, (BOTTOM + 14) * FINE), NAME, INK);
    }
    canvas.rect((LEFT * FINE - 4, (TOP - 6) * FINE), (LEFT * FINE + 2, BOTTOM * FINE + 4), INK);
    canvas.rect((LEFT * FINE - 4, BOTTOM * FINE - 2), (RIGHT * FINE, BOTTOM * FINE + 4), INK);
    canvas.finish()
}
