//! Sets of numbers that are written as intervals or as inequalities: `(0, 3]` is `0 < x <= 3`.

use super::{Answer, Shape};
use crate::reward::math::scalar::Scalar;
use crate::reward::math::symbols::REALS;

/// Bracket, lower end, upper end, bracket.
struct Interval {
    brackets: (char, char),
    ends: [Answer; 2],
}

/// Do both say the same set, one of them by an inequality or a name? Two intervals, or two inequalities, are compared
/// as they are written.
pub(super) fn same(a: &Answer, b: &Answer) -> bool {
    if matches!(
        (&a.shape, &b.shape),
        (Shape::Bracketed(..), Shape::Bracketed(..)) | (Shape::Relation(..), Shape::Relation(..))
    ) {
        return false;
    }
    match (interval(a), interval(b)) {
        (Some(a), Some(b)) => {
            a.brackets == b.brackets && a.ends.iter().zip(&b.ends).all(|(a, b)| a.equals_as_written(b))
        }
        _ => false,
    }
}

fn interval(answer: &Answer) -> Option<Interval> {
    match &answer.shape {
        Shape::Bracketed(open, close, ends) => {
            let ends = <[Answer; 2]>::try_from(ends.clone()).ok()?;
            Some(Interval { brackets: (*open, *close), ends })
        }
        Shape::Relation(sides, relations) => bounded(sides, relations),
        Shape::Scalar(scalar) if scalar.is_text(REALS) => {
            Some(Interval { brackets: ('(', ')'), ends: [infinite("-"), infinite("")] })
        }
        _ => None,
    }
}

/// The interval of `x < 3`, `2 <= x`, `0 < x <= 5`.
fn bounded(sides: &[Answer], relations: &[&'static str]) -> Option<Interval> {
    let rising = relations.iter().all(|relation| matches!(*relation, "<" | "<="));
    let falling = relations.iter().all(|relation| matches!(*relation, ">" | ">="));
    if !(rising || falling) {
        return None;
    }
    let closed = |relation: Option<&&str>, closes: char, opens: char| {
        if relation.is_some_and(|relation| relation.ends_with('=')) { closes } else { opens }
    };
    // In the order of growing numbers.
    let (mut sides, mut relations): (Vec<&Answer>, Vec<&str>) = (sides.iter().collect(), relations.to_vec());
    if falling {
        sides.reverse();
        relations.reverse();
    }
    let (low, high) = match sides[..] {
        [low, x, high] if x.is_variable() && low.is_constant() && high.is_constant() => (Some(low), Some(high)),
        [x, high] if x.is_variable() && high.is_constant() => (None, Some(high)),
        [low, x] if x.is_variable() && low.is_constant() => (Some(low), None),
        _ => return None,
    };
    let brackets = (closed(low.and(relations.first()), '[', '('), closed(high.and(relations.last()), ']', ')'));
    let end = |end: Option<&Answer>, sign: &str| end.cloned().unwrap_or_else(|| infinite(sign));
    Some(Interval { brackets, ends: [end(low, "-"), end(high, "")] })
}

fn infinite(sign: &str) -> Answer {
    let text = format!("{sign}\\infty");
    Answer { shape: Shape::Scalar(Box::new(Scalar::parse(&text))), text }
}

impl Answer {
    fn is_variable(&self) -> bool {
        matches!(&self.shape, Shape::Scalar(scalar) if scalar.is_variable())
    }

    fn is_constant(&self) -> bool {
        matches!(&self.shape, Shape::Scalar(scalar) if scalar.is_constant())
    }
}
