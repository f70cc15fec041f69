//! A figure as a picture, to scale.

use image::RgbImage;

use super::figure::Figure;
use super::scene::{GeometryScene, HUES};
use crate::data::draw::{Canvas, Colour, FINE, INK, Point};

const COLOURS: [Colour; HUES] = [[186, 214, 250], [200, 235, 200], [252, 222, 180], [236, 205, 240], [225, 225, 225]];
/// Side of a picture in pixels.
const SIDE: u32 = 224;
/// The longer side of a figure in quarters of a pixel.
const LONG: i32 = 124 * FINE;
/// From a side to the middle of its label.
const AWAY: i32 = 19 * FINE;
const LINE: i32 = 10;
/// Side of the dots of labels.
const DOT: i32 = 8;
/// Side of the mark of the right angle.
const MARK: i32 = 11 * FINE;

/// Draws the figure with its labels.
pub(super) fn paint(scene: &GeometryScene) -> RgbImage {
    let mut canvas = Canvas::new(SIDE, SIDE);
    let (width, height) = scene.figure.extent();
    let longer = width.max(height) as i32;
    let (w, h) = (width as i32 * LONG / longer, height as i32 * LONG / longer);
    let centre = SIDE as i32 * FINE / 2;
    // From a figure whose corner of the horizontal and vertical side is at the lower left, mirrored about the middle.
    let place = |(x, y): Point| {
        let (x, y) = (x - w / 2, y - h / 2);
        let (x, y) = (if scene.mirrored.0 { -x } else { x }, if scene.mirrored.1 { -y } else { y });
        (centre + x, centre - y)
    };
    let corners: Vec<Point> = match scene.figure {
        Figure::Rectangle { .. } => vec![(0, 0), (w, 0), (w, h), (0, h)],
        Figure::Triangle { .. } => vec![(0, 0), (w, 0), (0, h)],
    };
    let corners: Vec<Point> = corners.into_iter().map(place).collect();
    canvas.polygon(&corners, COLOURS[scene.hue % HUES]);
    if let Figure::Triangle { .. } = scene.figure {
        let mark = [(0, MARK), (MARK, MARK), (MARK, 0)].map(place);
        for ends in mark.windows(2) {
            canvas.line(ends[0], ends[1], LINE / 2, INK);
        }
    }
    for (at, corner) in corners.iter().enumerate() {
        canvas.line(*corner, corners[(at + 1) % corners.len()], LINE, INK);
    }
    // Away from the middle of the hypotenuse, at a right angle to it: along (h, w) by the length of `AWAY`.
    let length = (w * w + h * h).isqrt().max(1);
    let places = [(w / 2, -AWAY), (-AWAY, h / 2), (w / 2 + AWAY * h / length, h / 2 + AWAY * w / length)];
    for (label, at) in scene.kind.labels(&scene.figure).iter().zip(places) {
        if let Some(label) = label {
            canvas.text(label, place(at), DOT, INK);
        }
    }
    canvas.finish()
}
