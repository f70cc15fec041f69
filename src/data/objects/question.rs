//! What is asked about objects.

use super::object::{Object, Paint, Shape, Size};
use crate::data::drawn::Difficulty;
use crate::data::random::Rng;

/// Which objects are meant; a field that is none leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of this size.
    pub size: Option<Size>,
    /// Of this colour.
    pub paint: Option<Paint>,
    /// Of this form.
    pub shape: Option<Shape>,
}

/// A kind of question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// How many there are.
    Count(Filter),
    /// Are there more of the first than of the second?
    More(Filter, Filter),
    /// By how much the numbers of two differ.
    Difference(Filter, Filter),
    /// The colour of most objects; the others are the colours that may occur.
    MostColour(Vec<Paint>),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub kind: Kind,
}

impl Filter {
    /// Is this one of those meant?
    pub fn fits(&self, object: &Object) -> bool {
        self.size.is_none_or(|size| size == object.size)
            && self.paint.is_none_or(|paint| paint == object.paint)
            && self.shape.is_none_or(|shape| shape == object.shape)
    }

    /// How many of the objects are meant.
    pub fn count(&self, objects: &[Object]) -> usize {
        objects.iter().filter(|object| self.fits(object)).count()
    }

    /// `large red circle`: their name for one.
    pub(super) fn one(self) -> String {
        let adjectives = [self.size.map(Size::name), self.paint.map(Paint::name)];
        let noun = self.shape.map_or("object", Shape::one);
        adjectives.into_iter().flatten().chain([noun]).collect::<Vec<_>>().join(" ")
    }

    /// `large red circles`: their name for several.
    pub(super) fn many(self) -> String {
        self.one() + "s"
    }
}

impl Kind {
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Count(_) => "count",
            Self::More(..) => "compare",
            Self::Difference(..) => "difference",
            Self::MostColour(_) => "most_common",
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Count(what) => format!("How many {} are there?", what.many()),
            Self::More(one, two) => {
                format!("Are there more {} than {}? Answer yes or no.", one.many(), two.many())
            }
            Self::Difference(one, two) => {
                format!("What is the difference between the number of {} and the number of {}?", one.many(), two.many())
            }
            Self::MostColour(_) => "Which color do most objects have?".to_owned(),
        }
    }

    pub(super) fn answer(&self, objects: &[Object]) -> String {
        match self {
            Self::Count(what) => what.count(objects).to_string(),
            Self::More(one, two) => if one.count(objects) > two.count(objects) { "yes" } else { "no" }.to_owned(),
            Self::Difference(one, two) => one.count(objects).abs_diff(two.count(objects)).to_string(),
            Self::MostColour(paints) => {
                let most = paints.iter().max_by_key(|paint| of_colour(**paint).count(objects));
                most.map_or("none", |paint| paint.name()).to_owned()
            }
        }
    }

    /// The groups of objects that have to be counted.
    pub(super) fn groups(&self) -> Vec<Filter> {
        match self {
            Self::Count(what) => vec![*what],
            Self::More(one, two) | Self::Difference(one, two) => vec![*one, *two],
            Self::MostColour(paints) => paints.iter().map(|paint| of_colour(*paint)).collect(),
        }
    }
}

fn of_colour(paint: Paint) -> Filter {
    Filter { paint: Some(paint), ..Filter::default() }
}

/// Draws a question by lot. A colour that shares its first place is not asked for; that question becomes one of
/// counting.
pub(super) fn draw(
    objects: &[Object],
    shapes: &[Shape],
    paints: &[Paint],
    difficulty: Difficulty,
    rng: &mut Rng,
) -> Question {
    let kind = match rng.below(10) {
        0..=3 => Kind::Count(filter(objects, difficulty, rng)),
        4..=5 => pair(shapes, paints, rng, Kind::More),
        6..=7 => pair(shapes, paints, rng, Kind::Difference),
        _ => {
            let mut counts: Vec<usize> = paints.iter().map(|paint| of_colour(*paint).count(objects)).collect();
            counts.sort_unstable();
            if counts[counts.len() - 1] > counts[counts.len() - 2] {
                Kind::MostColour(paints.to_vec())
            } else {
                Kind::Count(filter(objects, difficulty, rng))
            }
        }
    };
    Question { kind }
}

/// Objects like one that is there, or, now and then, like one that may be missing.
fn filter(objects: &[Object], difficulty: Difficulty, rng: &mut Rng) -> Filter {
    let (like, other) = (&objects[rng.below(objects.len())], &objects[rng.below(objects.len())]);
    let paint = if rng.chance(0.2) { other.paint } else { like.paint };
    let sized = difficulty == Difficulty::Hard && rng.chance(0.4);
    let (paint, shape) = match rng.below(4) {
        0 => (Some(paint), None),
        1 => (None, Some(like.shape)),
        _ => (Some(paint), Some(like.shape)),
    };
    Filter { size: sized.then_some(like.size), paint, shape }
}

/// Two groups that differ in form or in colour.
fn pair(shapes: &[Shape], paints: &[Paint], rng: &mut Rng, kind: fn(Filter, Filter) -> Kind) -> Kind {
    let first = rng.below(shapes.len());
    let second = (first + 1 + rng.below(shapes.len() - 1)) % shapes.len();
    let by_shape = rng.chance(0.5);
    let filter = |at: usize| {
        if by_shape { Filter { shape: Some(shapes[at]), ..Filter::default() } } else { of_colour(paints[at]) }
    };
    kind(filter(first), filter(second))
}
