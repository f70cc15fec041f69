//! A small canvas for the generated tasks. Whole numbers only, so that a picture has the same pixels on every machine.
//!
//! Places are given in [`FINE`] parts of a pixel; every pixel is sampled `FINE x FINE` times, which smooths edges.

mod font;

use image::{Rgb, RgbImage};

/// Parts of a pixel's side.
pub(super) const FINE: i32 = 4;
const SAMPLES: u32 = (FINE * FINE) as u32;

/// A colour: red, green, blue.
pub(super) type Colour = [u8; 3];
/// A place in parts of a pixel: right, down.
pub(super) type Point = (i32, i32);

/// Ink of lines and letters.
pub(super) const INK: Colour = [30, 30, 34];
/// Paper.
const PAPER: Colour = [255, 255, 255];

/// A picture being drawn.
pub(super) struct Canvas(RgbImage);

impl Canvas {
    /// A white image of this size.
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self(RgbImage::from_pixel(width, height, Rgb(PAPER)))
    }

    /// The picture.
    pub(super) fn finish(self) -> RgbImage {
        self.0
    }

    /// Paints the points between two corners that are `inside`; a pixel mixes by how many of its samples are.
    pub(super) fn fill(&mut self, from: Point, to: Point, colour: Colour, inside: impl Fn(Point) -> bool) {
        let (width, height) = (self.0.width() as i32, self.0.height() as i32);
        for y in (from.1.div_euclid(FINE)).max(0)..=(to.1.div_euclid(FINE)).min(height - 1) {
            for x in (from.0.div_euclid(FINE)).max(0)..=(to.0.div_euclid(FINE)).min(width - 1) {
                let samples = (0..FINE * FINE).map(|at| (x * FINE + at % FINE, y * FINE + at / FINE));
                let covered = samples.filter(|point| inside(*point)).count() as u32;
                let pixel = self.0.get_pixel_mut(x as u32, y as u32);
                for (old, new) in pixel.0.iter_mut().zip(colour) {
                    let mixed = u32::from(*old) * (SAMPLES - covered) + u32::from(new) * covered;
                    *old = ((mixed + SAMPLES / 2) / SAMPLES) as u8;
                }
            }
        }
    }

    /// A filled box, its lower right corner left out.
    pub(super) fn rect(&mut self, from: Point, to: Point, colour: Colour) {
        self.fill(from, to, colour, |(x, y)| x >= from.0 && x < to.0 && y >= from.1 && y < to.1);
    }

    /// A filled disc.
    pub(super) fn disc(&mut self, centre: Point, radius: i32, colour: Colour) {
        let (from, to) = around(centre, radius);
        self.fill(from, to, colour, |point| square_distance(point, centre) <= radius * radius);
    }

    /// A filled polygon (even-odd rule).
    pub(super) fn polygon(&mut self, corners: &[Point], colour: Colour) {
        let side = |pick: fn(&Point) -> i32| {
            let sides = corners.iter().map(pick);
            (sides.clone().min().unwrap_or(0), sides.max().unwrap_or(0))
        };
        let ((left, right), (top, bottom)) = (side(|p| p.0), side(|p| p.1));
        self.fill((left, top), (right, bottom), colour, |point| inside_polygon(corners, point));
    }

    /// A straight line with round ends.
    pub(super) fn line(&mut self, from: Point, to: Point, width: i32, colour: Colour) {
        let reach = width / 2 + 1;
        let low = (from.0.min(to.0) - reach, from.1.min(to.1) - reach);
        let high = (from.0.max(to.0) + reach, from.1.max(to.1) + reach);
        self.fill(low, high, colour, |point| near_line(point, from, to, width));
    }

    /// Text of digits, letters A to F and `?` around a centre; `cell` is the side of one of a letter's 5 x 7 dots.
    pub(super) fn text(&mut self, text: &str, centre: Point, cell: i32, colour: Colour) {
        let (left, top) = (centre.0 - text_width(text, cell) / 2, centre.1 - font::HEIGHT * cell / 2);
        for (at, letter) in text.chars().enumerate() {
            let left = left + at as i32 * (font::WIDTH + 1) * cell;
            for (row, dots) in font::glyph(letter).iter().enumerate() {
                for column in (0..font::WIDTH).filter(|column| dots >> (font::WIDTH - 1 - column) & 1 == 1) {
                    let corner = (left + column * cell, top + row as i32 * cell);
                    self.rect(corner, (corner.0 + cell, corner.1 + cell), colour);
                }
            }
        }
    }
}

/// Width of a text whose dots have side `cell`.
pub(super) fn text_width(text: &str, cell: i32) -> i32 {
    (text.chars().count() as i32 * (font::WIDTH + 1) - 1) * cell
}

/// The corners of the box around a disc.
pub(super) fn around(centre: Point, radius: i32) -> (Point, Point) {
    ((centre.0 - radius, centre.1 - radius), (centre.0 + radius, centre.1 + radius))
}

/// The square of the distance of two points.
pub(super) fn square_distance(one: Point, two: Point) -> i32 {
    (one.0 - two.0).pow(2) + (one.1 - two.1).pow(2)
}

fn inside_polygon(corners: &[Point], (x, y): Point) -> bool {
    let mut inside = false;
    for (at, one) in corners.iter().enumerate() {
        let two = corners[(at + 1) % corners.len()];
        if (one.1 > y) != (two.1 > y) {
            // Left of the edge, without a division: both sides times the edge's height, whose sign turns the
            // comparison.
            let (left, right) = ((x - one.0) * (two.1 - one.1), (two.0 - one.0) * (y - one.1));
            inside ^= if two.1 > one.1 { left < right } else { left > right };
        }
    }
    inside
}

/// Within half a width of the line from `one` to `two`.
fn near_line(point: Point, one: Point, two: Point, width: i32) -> bool {
    let wide = |n: i32| i64::from(n);
    let (along, across) = ((wide(two.0 - one.0), wide(two.1 - one.1)), (wide(point.0 - one.0), wide(point.1 - one.1)));
    let length = along.0 * along.0 + along.1 * along.1;
    let reached = along.0 * across.0 + along.1 * across.1;
    let limit = wide(width) * wide(width);
    if reached <= 0 {
        return 4 * wide(square_distance(point, one)) <= limit;
    }
    if reached >= length {
        return 4 * wide(square_distance(point, two)) <= limit;
    }
    let cross = along.0 * across.1 - along.1 * across.0;
    4 * cross * cross <= limit * length
}
