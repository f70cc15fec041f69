//! What is asked about a figure, which sides are labelled for it, and how it is worked out.

use super::figure::Figure;
use crate::data::drawn::Difficulty;
use crate::data::random::Rng;

/// A kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The area.
    Area,
    /// The perimeter; of a triangle with all sides labelled.
    Perimeter,
    /// The perimeter of a triangle with labelled legs only.
    PerimeterFromLegs,
    /// The hypotenuse, marked `?`.
    Hypotenuse,
    /// The vertical leg, marked `?`.
    Leg,
}

/// Draws a question by lot.
pub(super) fn draw(figure: &Figure, difficulty: Difficulty, rng: &mut Rng) -> Kind {
    let perimeter = match difficulty {
        Difficulty::Easy => Kind::Perimeter,
        Difficulty::Hard => Kind::PerimeterFromLegs,
    };
    match figure {
        Figure::Rectangle { .. } => [Kind::Area, Kind::Perimeter][rng.below(2)],
        Figure::Triangle { .. } => [Kind::Area, perimeter, Kind::Hypotenuse, Kind::Leg][rng.below(4)],
    }
}

impl Kind {
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Area => "area",
            Self::Perimeter | Self::PerimeterFromLegs => "perimeter",
            Self::Hypotenuse => "hypotenuse",
            Self::Leg => "leg",
        }
    }

    pub(super) fn text(self, figure: &Figure) -> String {
        let name = match figure {
            Figure::Rectangle { .. } => "rectangle",
            Figure::Triangle { .. } => "right triangle",
        };
        match self {
            Self::Area => format!("What is the area of the {name}?"),
            Self::Perimeter | Self::PerimeterFromLegs => format!("What is the perimeter of the {name}?"),
            Self::Hypotenuse | Self::Leg => format!("How long is the side of the {name} that is marked \"?\"?"),
        }
    }

    pub(super) fn answer(self, figure: &Figure) -> u32 {
        match (*figure, self) {
            (Figure::Rectangle { width, height }, Self::Area) => width * height,
            (Figure::Rectangle { width, height }, _) => 2 * (width + height),
            (Figure::Triangle { width, height, .. }, Self::Area) => width * height / 2,
            (Figure::Triangle { width, height, hypotenuse }, Self::Perimeter | Self::PerimeterFromLegs) => {
                width + height + hypotenuse
            }
            (Figure::Triangle { hypotenuse, .. }, Self::Hypotenuse) => hypotenuse,
            (Figure::Triangle { height, .. }, Self::Leg) => height,
        }
    }

    /// The labels of the horizontal side, the vertical side and the hypotenuse.
    pub(super) fn labels(self, figure: &Figure) -> [Option<String>; 3] {
        let number = |n: u32| Some(n.to_string());
        let unknown = || Some("?".to_owned());
        match (*figure, self) {
            (Figure::Rectangle { width, height }, _)
            | (Figure::Triangle { width, height, .. }, Self::Area | Self::PerimeterFromLegs) => {
                [number(width), number(height), None]
            }
            (Figure::Triangle { width, height, hypotenuse }, Self::Perimeter) => {
                [number(width), number(height), number(hypotenuse)]
            }
            (Figure::Triangle { width, height, .. }, Self::Hypotenuse) => [number(width), number(height), unknown()],
            (Figure::Triangle { width, hypotenuse, .. }, Self::Leg) => [number(width), unknown(), number(hypotenuse)],
        }
    }
}

/// Reads the labels and computes.
pub(super) fn work(figure: &Figure, kind: Kind) -> String {
    let answer = kind.answer(figure);
    match *figure {
        Figure::Rectangle { width: w, height: h } => {
            let read = format!("The rectangle is {w} wide and {h} high.");
            match kind {
                Kind::Area => format!("{read} Its area is {w} * {h} = {answer}."),
                _ => format!("{read} {w} + {h} = {}. Its perimeter is 2 * {} = {answer}.", w + h, w + h),
            }
        }
        Figure::Triangle { width: w, height: h, hypotenuse: c } => {
            let legs = format!("The legs of the triangle are labelled {w} and {h}.");
            let pythagoras = format!("{w}^2 + {h}^2 = {} + {} = {} = {c}^2", w * w, h * h, c * c);
            match kind {
                Kind::Area => format!("{legs} {w} * {h} = {}. Its area is half of that, {answer}.", w * h),
                Kind::Perimeter => {
                    format!("{legs} The hypotenuse is labelled {c}. {w} + {h} = {}. {} + {c} = {answer}.", w + h, w + h)
                }
                Kind::PerimeterFromLegs => format!(
                    "{legs} {pythagoras}, so the hypotenuse is {c}. {w} + {h} = {}. {} + {c} = {answer}.",
                    w + h,
                    w + h
                ),
                Kind::Hypotenuse => {
                    format!("{legs} The hypotenuse is marked ?. {pythagoras}, so the hypotenuse is {c}.")
                }
                Kind::Leg => format!(
                    "One leg is labelled {w}, the hypotenuse {c}, and the other leg is marked ?. \
                     {c}^2 - {w}^2 = {} - {} = {} = {h}^2, so the leg is {h}.",
                    c * c,
                    w * w,
                    h * h
                ),
            }
        }
    }
}
