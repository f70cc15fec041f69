//! What is in a picture: objects of a shape, a colour and a size.

use crate::data::draw::Colour;

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
    /// Its distance from the middle of its cell, in quarters of a pixel.
    pub shift: (i32, i32),
}
