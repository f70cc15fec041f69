//! Objects as pictures.

use image::RgbImage;

use super::object::{Object, Shape, Size};
use super::scene::ObjectsScene;
use crate::data::draw::{Canvas, Colour, FINE, INK, Point, around, square_distance};

/// Side of a picture in pixels.
const SIDE: u32 = 224;
/// Width of the dark rim around an object.
const RIM: i32 = 6;
/// Corners of a star of radius 1000, from the top, clockwise.
const STAR: [Point; 10] = [
    (0, -1000),
    (235, -324),
    (951, -309),
    (380, 124),
    (588, 809),
    (0, 400),
    (-588, 809),
    (-380, 124),
    (-951, -309),
    (-235, -324),
];
const TRIANGLE: [Point; 3] = [(0, -950), (950, 800), (-950, 800)];

/// Draws the scene.
pub(super) fn paint(scene: &ObjectsScene) -> RgbImage {
    let mut canvas = Canvas::new(SIDE, SIDE);
    let cell = SIDE as i32 * FINE / scene.grid as i32;
    for object in &scene.objects {
        let (column, row) = ((object.cell % scene.grid) as i32, (object.cell / scene.grid) as i32);
        let centre = (column * cell + cell / 2 + object.shift.0, row * cell + cell / 2 + object.shift.1);
        let radius = match object.size {
            Size::Large => cell * 39 / 100,
            Size::Small => cell * 22 / 100,
        };
        draw(&mut canvas, object, centre, radius);
    }
    canvas.finish()
}

fn draw(canvas: &mut Canvas, object: &Object, centre: Point, radius: i32) {
    body(canvas, object.shape, centre, radius, INK);
    body(canvas, object.shape, centre, radius - RIM, object.paint.colour());
    match object.shape {
        Shape::HappyFace => face(canvas, centre, radius, true),
        Shape::SadFace => face(canvas, centre, radius, false),
        _ => {}
    }
}

fn body(canvas: &mut Canvas, shape: Shape, centre: Point, radius: i32, colour: Colour) {
    let scaled = |corners: &[Point]| -> Vec<Point> {
        corners.iter().map(|(x, y)| (centre.0 + x * radius / 1000, centre.1 + y * radius / 1000)).collect()
    };
    match shape {
        Shape::Circle | Shape::HappyFace | Shape::SadFace => canvas.disc(centre, radius, colour),
        Shape::Square => {
            let (from, to) = around(centre, radius * 86 / 100);
            canvas.rect(from, to, colour);
        }
        Shape::Triangle => canvas.polygon(&scaled(&TRIANGLE), colour),
        Shape::Star => canvas.polygon(&scaled(&STAR), colour),
    }
}

/// Eyes and a mouth: the lower part of a ring for a smile, the upper part of a lower ring for the opposite.
fn face(canvas: &mut Canvas, centre: Point, radius: i32, happy: bool) {
    for side in [-1, 1] {
        canvas.disc((centre.0 + side * radius * 36 / 100, centre.1 - radius * 28 / 100), radius * 13 / 100, INK);
    }
    let (middle, outer) = if happy {
        ((centre.0, centre.1 + radius * 2 / 100), radius * 58 / 100)
    } else {
        ((centre.0, centre.1 + radius * 72 / 100), radius * 48 / 100)
    };
    let inner = outer - (radius * 13 / 100).max(FINE);
    let edge = outer * 35 / 100;
    let (from, to) = around(middle, outer);
    canvas.fill(from, to, INK, |point| {
        let distance = square_distance(point, middle);
        let below = point.1 - middle.1;
        let on_side = if happy { below >= edge } else { below <= -edge };
        on_side && distance <= outer * outer && distance >= inner * inner
    });
}
