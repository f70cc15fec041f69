//! A figure with lengths.

use super::figure::Figure;
use super::question::{self, Kind};
use crate::data::drawn::Difficulty;
use crate::data::random::Rng;

/// Colours of figures.
pub(super) const HUES: usize = 5;
/// The longest hypotenuse.
const LONGEST: u32 = 100;
/// Hypotenuses up to here are easy.
const EASY: u32 = 41;

/// A figure with a question.
#[derive(Debug, Clone)]
pub struct GeometryScene {
    /// The figure.
    pub figure: Figure,
    /// What is asked.
    pub kind: Kind,
    /// Is it mirrored left to right, and top to bottom?
    pub mirrored: (bool, bool),
    /// Which colour it has.
    pub hue: usize,
    pub(super) difficulty: Difficulty,
}

/// Draws a scene by lot. Hard ones have longer sides, and triangles that do not show every side that is needed.
pub(super) fn draw(rng: &mut Rng) -> GeometryScene {
    let difficulty = if rng.chance(0.5) { Difficulty::Easy } else { Difficulty::Hard };
    let figure = if rng.chance(0.4) { rectangle(difficulty, rng) } else { triangle(difficulty, rng) };
    let kind = question::draw(&figure, difficulty, rng);
    let mirrored = (rng.chance(0.5), rng.chance(0.5));
    GeometryScene { figure, kind, mirrored, hue: rng.below(HUES), difficulty }
}

fn rectangle(difficulty: Difficulty, rng: &mut Rng) -> Figure {
    let (least, spread) = match difficulty {
        Difficulty::Easy => (3, 10),
        Difficulty::Hard => (13, 28),
    };
    let mut side = || (least + rng.below(spread)) as u32;
    let (width, height) = (side(), side());
    Figure::Rectangle { width, height }
}

fn triangle(difficulty: Difficulty, rng: &mut Rng) -> Figure {
    let triples: Vec<_> = triples().filter(|(_, _, c)| (*c <= EASY) == (difficulty == Difficulty::Easy)).collect();
    let (a, b, hypotenuse) = triples[rng.below(triples.len())];
    let (width, height) = if rng.chance(0.5) { (a, b) } else { (b, a) };
    Figure::Triangle { width, height, hypotenuse }
}

/// Whole numbers a < b < c with a² + b² = c², in order of a and b.
fn triples() -> impl Iterator<Item = (u32, u32, u32)> {
    let pairs = (3..LONGEST).flat_map(|a| (a + 1..LONGEST).map(move |b| (a, b)));
    pairs.filter_map(|(a, b)| {
        let c = (a * a + b * b).isqrt();
        (c <= LONGEST && c * c == a * a + b * b).then_some((a, b, c))
    })
}
