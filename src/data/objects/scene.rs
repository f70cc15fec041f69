//! The contents of an image: objects on a grid.

use super::object::{Object, Paint, Shape, Size};
use super::question::{self, Question};
use crate::data::drawn::Difficulty;
use crate::data::random::Rng;

/// A picture of objects with a question.
#[derive(Debug, Clone)]
pub struct ObjectsScene {
    /// Cells of a side.
    pub grid: usize,
    /// The objects in reading order.
    pub objects: Vec<Object>,
    /// The question.
    pub question: Question,
    pub(super) difficulty: Difficulty,
}

/// Draws a scene by lot. Few forms and colours a picture, so that there is something to count.
pub(super) fn draw(rng: &mut Rng) -> ObjectsScene {
    let difficulty = if rng.chance(0.5) { Difficulty::Easy } else { Difficulty::Hard };
    let (grid, least, spread, kinds) = match difficulty {
        Difficulty::Easy => (3, 4, 4, 2),
        Difficulty::Hard => (4, 8, 6, 3),
    };
    let (shapes, paints) = (pick(rng, &Shape::ALL, kinds), pick(rng, &Paint::ALL, kinds));
    let amount = least + rng.below(spread);
    let all: Vec<usize> = (0..grid * grid).collect();
    let mut cells = pick(rng, &all, amount);
    cells.sort_unstable();
    let shift = |rng: &mut Rng| rng.below(25) as i32 - 12;
    let objects: Vec<Object> = cells
        .into_iter()
        .map(|cell| Object {
            shape: shapes[rng.below(kinds)],
            paint: paints[rng.below(kinds)],
            size: if difficulty == Difficulty::Hard && rng.chance(0.5) { Size::Small } else { Size::Large },
            cell,
            shift: (shift(rng), shift(rng)),
        })
        .collect();
    let question = question::draw(&objects, &shapes, &paints, difficulty, rng);
    ObjectsScene { grid, objects, question, difficulty }
}

/// This number of different items, in random order.
fn pick<T: Copy>(rng: &mut Rng, items: &[T], amount: usize) -> Vec<T> {
    let mut items = items.to_vec();
    (0..amount.min(items.len())).map(|_| items.swap_remove(rng.below(items.len()))).collect()
}

impl ObjectsScene {
    /// The name of an object, with its size where sizes differ.
    pub(super) fn call(&self, object: &Object) -> String {
        let name = format!("{} {}", object.paint.name(), object.shape.one());
        match self.difficulty {
            Difficulty::Easy => name,
            Difficulty::Hard => format!("{} {name}", object.size.name()),
        }
    }
}
