//! Equations that say the same in another arrangement: `2x + 4y - 3 = 0` is `y = -x/2 + 3/4`.

use super::Answer;
use crate::reward::math::expression::Expression;
use crate::reward::math::parser;
use crate::reward::math::symbols::{SET_CLOSE, SET_OPEN};

/// Are both equations, and their differences of sides multiples of each other? A truth that gives a name its number (`x
/// = 3`) is not such an equation: `x + 1 = 4` would be the question, not the answer.
pub(super) fn same(truth: &Answer, answer: &Answer) -> bool {
    let Some((left, right)) = sides(&truth.text) else { return false };
    let is_solved = |name: &Expression, value: &Expression| name.is_variable() && value.variables.is_empty();
    if is_solved(&left, &right) || is_solved(&right, &left) {
        return false;
    }
    sides(&answer.text).is_some_and(|(l, r)| left.minus(right).is_multiple_of(&l.minus(r)))
}

/// Both sides of an equation, none where the text is something else.
fn sides(text: &str) -> Option<(Expression, Expression)> {
    let mut depth = 0_i32;
    let mut equals = None;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' | SET_OPEN => depth += 1,
            ')' | ']' | '}' | SET_CLOSE => depth -= 1,
            '=' if depth == 0 && equals.is_none() && !text[..at].ends_with('!') => equals = Some(at),
            '=' | '<' | '>' | ',' | ';' => return None,
            _ => {}
        }
    }
    let at = equals?;
    Some((parser::parse(text[..at].trim())?, parser::parse(text[at + 1..].trim())?))
}
