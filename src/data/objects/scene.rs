//! What lies in a picture: objects on a grid.

use image::RgbImage;

use super::question::{self, Question};
use super::{demonstration, paint};
use crate::data::draw::Colour;
use crate::data::drawn::{Difficulty, Subject};
use crate::data::random::Dice;

/// The form of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// A disc.
    Circle,
    /// A square.
    Square,
    /// A triangle that points up.
    Triangle,
    /// A star of five points.
    Star,
    /// A round face with a smile.
    HappyFace,
    /// A round face with its mouth turned down.
    SadFace,
}

/// The colour of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Paint {
    /// Red.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Yellow.
    Yellow,
    /// Purple.
    Purple,
}

/// The size of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// About half of a cell.
    Small,
    /// Nearly a whole cell.
    Large,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Circle, Self::Square, Self::Triangle, Self::Star, Self::HappyFace, Self::SadFace];

    /// Its name for one.
    pub fn one(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::HappyFace => "happy face",
            Self::SadFace => "sad face",
        }
    }
}

impl Paint {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Red, Self::Green, Self::Blue, Self::Yellow, Self::Purple];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Purple => "purple",
        }
    }

    pub(super) fn colour(self) -> Colour {
        match self {
            Self::Red => [224, 49, 49],
            Self::Green => [47, 158, 68],
            Self::Blue => [34, 110, 224],
            Self::Yellow => [250, 210, 40],
            Self::Purple => [150, 60, 190],
        }
    }
}

impl Size {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its form.
    pub shape: Shape,
    /// Its colour.
    pub paint: Paint,
    /// Its size.
    pub size: Size,
    /// Its cell, in reading order.
    pub cell: usize,
    /// How far it lies from the middle of its cell, in quarters of a pixel.
    pub shift: (i32, i32),
}

/// A picture of objects with a question.
#[derive(Debug, Clone)]
pub struct ObjectsScene {
    /// Cells of a side.
    pub grid: usize,
    /// The objects in reading order.
    pub objects: Vec<Object>,
    /// The question.
    pub question: Question,
    difficulty: Difficulty,
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

impl Subject for ObjectsScene {
    /// The objects without their places: a collection that is held out is in no training picture.
    fn identity(&self) -> String {
        let mut objects: Vec<_> = self.objects.iter().map(|o| (o.shape, o.paint, o.size)).collect();
        objects.sort_unstable();
        format!("{objects:?}")
    }

    fn paint(&self) -> RgbImage {
        paint::paint(self)
    }

    fn question(&self) -> String {
        self.question.kind.text()
    }

    fn answer(&self) -> String {
        self.question.kind.answer(&self.objects)
    }

    fn thoughts(&self) -> String {
        demonstration::write(self)
    }

    fn kind(&self) -> &'static str {
        self.question.kind.tag()
    }

    fn difficulty(&self) -> Difficulty {
        self.difficulty
    }
}
