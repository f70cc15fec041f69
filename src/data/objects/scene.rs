//! The contents of an image: objects on a grid.

use super::object::{Object, Paint, Shape, Size};
use super::question::{self, Question};
use crate::data::drawn::Difficulty;
use crate::data::random::Dice;

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
pub(super) fn draw(dice: &mut Dice) -> ObjectsScene {
    let difficulty = if dice.chance(0.5) { Difficulty::Easy } else { Difficulty::Hard };
    let (grid, least, spread, kinds) = match difficulty {
        Difficulty::Easy => (3, 4, 4, 2),
        Difficulty::Hard => (4, 8, 6, 3),
    };
    let (shapes, paints) = (pick(dice, &Shape::ALL, kinds), pick(dice, &Paint::ALL, kinds));
    let amount = least + dice.below(spread);
    let all: Vec<usize> = (0..grid * grid).collect();
    let mut cells = pick(dice, &all, amount);
    cells.sort_unstable();
    let shift = |dice: &mut Dice| dice.below(25) as i32 - 12;
    let objects: Vec<Object> = cells
        .into_iter()
        .map(|cell| Object {
            shape: shapes[dice.below(kinds)],
            paint: paints[dice.below(kinds)],
            size: if difficulty == Difficulty::Hard && dice.chance(0.5) { Size::Small } else { Size::Large },
            cell,
            shift: (shift(dice), shift(dice)),
        })
        .collect();
    let question = question::draw(&objects, &shapes, &paints, difficulty, dice);
    ObjectsScene { grid, objects, question, difficulty }
}

/// So many different items, in an order by lot.
fn pick<T: Copy>(dice: &mut Dice, items: &[T], amount: usize) -> Vec<T> {
    let mut items = items.to_vec();
    (0..amount.min(items.len())).map(|_| items.swap_remove(dice.below(items.len()))).collect()
}

impl ObjectsScene {
    /// How an object is called: its size is told where sizes differ.
    pub(super) fn call(&self, object: &Object) -> String {
        let name = format!("{} {}", object.paint.name(), object.shape.one());
        match self.difficulty {
            Difficulty::Easy => name,
            Difficulty::Hard => format!("{} {name}", object.size.name()),
        }
    }
}
