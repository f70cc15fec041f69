//! The structure of an answer: tuples, intervals, sets, lists, matrices, ratios, equations, inequalities; scalars
//! inside.

mod equation;
mod interval;

use std::cell::Cell;

use super::normalize::same_text;
use super::scalar::Scalar;
use super::symbols::{EMPTY_SET, SET_CLOSE, SET_OPEN};

/// Structures nested deeper, or of more parts, are compared as text.
const MAX_DEPTH: usize = 6;
const MAX_PARTS: usize = 64;
/// Bytes that are looked at in one answer, those of every part and of every attempt counted; what is beyond is compared
/// as text.
const MAX_WORK: usize = 1 << 16;
/// Relations, longest first. `\in` and `=` may name a value.
const RELATIONS: [&str; 7] = ["<=", ">=", "!=", "\\in ", "<", ">", "="];

/// A parsed answer and its text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    text: String,
    shape: Shape,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Scalar(Box<Scalar>),
    /// A tuple or an interval with its brackets.
    Bracketed(char, char, Vec<Answer>),
    /// A set, a union, or solutions joined by `or` / `and`: order does not count.
    Unordered(Vec<Answer>),
    /// Values with commas between.
    List(Vec<Answer>),
    Matrix(Vec<Vec<Answer>>),
    Ratio(Vec<Answer>),
    /// Sides and the relations between them.
    Relation(Vec<Answer>, Vec<&'static str>),
    /// A text that was not read.
    Text,
}

/// The context of a part: its depth, and the remaining budget.
#[derive(Clone, Copy)]
struct At<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl At<'_> {
    fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    /// Takes the work of reading `text`; false when there is not so much left.
    fn take(self, text: &str) -> bool {
        let left = self.left.get().checked_sub(text.len() + 1);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }
}

impl Answer {
    pub fn parse(text: &str) -> Self {
        Self::parse_counted(text).0
    }

    /// The answer, and how many bytes were looked at: every part of it, every attempt to take it apart.
    pub fn parse_counted(text: &str) -> (Self, usize) {
        let left = Cell::new(MAX_WORK);
        let answer = Self::parse_nested(text.trim(), At { depth: 0, left: &left });
        (answer, MAX_WORK - left.get())
    }

    fn parse_nested(text: &str, at: At<'_>) -> Self {
        if !at.take(text) {
            return Self { text: text.to_owned(), shape: Shape::Text };
        }
        let structured = (at.depth < MAX_DEPTH).then(|| structure(text, at.deeper())).flatten();
        let shape = structured.unwrap_or_else(|| Shape::Scalar(Box::new(Scalar::parse(text))));
        Self { text: text.to_owned(), shape }
    }

    /// Does `other`, an answer, say the same as this, a truth?
    pub fn equals(&self, other: &Self) -> bool {
        self.equals_as_written(other) || interval::same(self, other) || equation::same(self, other)
    }

    fn equals_as_written(&self, other: &Self) -> bool {
        let all = |a: &[Self], b: &[Self]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b));
        match (&self.shape, &other.shape) {
            (Shape::Scalar(a), Shape::Scalar(b)) => a.equals(b),
            (Shape::Bracketed(open, close, a), Shape::Bracketed(open_b, close_b, b)) => {
                (open, close) == (open_b, close_b) && all(a, b)
            }
            (Shape::Unordered(a), Shape::Unordered(b) | Shape::List(b)) | (Shape::List(a), Shape::Unordered(b)) => {
                same_members(a, b)
            }
            (Shape::List(a), Shape::List(b)) | (Shape::Ratio(a), Shape::Ratio(b)) => all(a, b),
            (Shape::Matrix(a), Shape::Matrix(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| all(a, b)),
            (Shape::Relation(a, how), Shape::Relation(b, how_b)) => {
                (how == how_b && all(a, b)) || {
                    let turned: Vec<Self> = b.iter().rev().cloned().collect();
                    let how_turned: Vec<&str> = how_b.iter().rev().map(|r| flipped(r)).collect();
                    *how == how_turned && all(a, &turned)
                }
            }
            (Shape::Unordered(members), _) if members.len() == 1 => members[0].equals(other),
            (_, Shape::Unordered(members)) if members.len() == 1 => self.equals(&members[0]),
            _ => same_text(&self.text, &other.text),
        }
    }
}

/// Same members in any order.
fn same_members(a: &[Answer], b: &[Answer]) -> bool {
    let mut left: Vec<&Answer> = b.iter().collect();
    a.len() == b.len()
        && a.iter().all(|member| match left.iter().position(|other| member.equals(other)) {
            None => false,
            Some(index) => {
                left.swap_remove(index);
                true
            }
        })
}

/// The structure of `text`; None for a scalar.
fn structure(text: &str, at: At<'_>) -> Option<Shape> {
    if text == EMPTY_SET {
        return Some(Shape::Unordered(Vec::new()));
    }
    if let Some(rows) = matrix(text) {
        let cells = |row: &str| row.split('&').map(|cell| Answer::parse_nested(cell.trim(), at)).collect();
        return Some(Shape::Matrix(rows.split("\\\\").filter(|r| !r.trim().is_empty()).map(cells).collect()));
    }
    let parse_all = |parts: Vec<&str>| parts.into_iter().map(|p| Answer::parse_nested(p, at)).collect::<Vec<Answer>>();
    if let Some(parts) = split(text, &[" or ", " and "]) {
        let members = parts.into_iter().flat_map(|part| items(part).unwrap_or_else(|| vec![part]));
        return Some(Shape::Unordered(parse_all(members.collect())));
    }
    if !is_grouped_number(text)
        && let Some(parts) = items(text)
    {
        return Some(Shape::List(parse_all(parts)));
    }
    if let Some(parts) = split(text, &["\\cup", " U "]) {
        return Some(Shape::Unordered(parse_all(parts)));
    }
    if let Some(shape) = relation(text, at) {
        return Some(shape);
    }
    if let Some(parts) = split(text, &[":"]) {
        return Some(Shape::Ratio(parse_all(parts)));
    }
    if let Some((open, inner, close)) = brackets(text) {
        let parts = items(inner);
        return match (open, parts) {
            (SET_OPEN, _) if inner.trim().is_empty() => Some(Shape::Unordered(Vec::new())),
            (SET_OPEN, parts) => Some(Shape::Unordered(parse_all(parts.unwrap_or_else(|| vec![inner])))),
            ('{', Some(parts)) => Some(Shape::Unordered(parse_all(parts))),
            (_, Some(parts)) => Some(Shape::Bracketed(open, close, parse_all(parts))),
            ('(', None) => Some(Answer::parse_nested(inner.trim(), at).shape),
            _ => None,
        };
    }
    let (before, after) = text.split_once("\\pm")?;
    if after.contains("\\pm") {
        return None;
    }
    let (plus, minus) = (format!("{before}+{after}"), format!("{before}-{after}"));
    Some(Shape::Unordered(parse_all(vec![&plus, &minus])))
}

/// The rows of a matrix environment.
fn matrix(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("\\begin{")?;
    let (name, rest) = rest.split_once('}')?;
    let rows = rest.strip_suffix(&format!("\\end{{{name}}}"))?;
    (name.ends_with("matrix") && !rows.contains("\\begin")).then_some(rows)
}

/// Thousands with commas: `1,234,567.8`.
fn is_grouped_number(text: &str) -> bool {
    let number = text.trim_start_matches(['-', '+', ' ']);
    let number = &number[..number.bytes().take_while(|b| b.is_ascii_digit() || *b == b',').count()];
    let mut groups = number.split(',');
    let first = groups.next().unwrap_or_default();
    let grouped = (1..=3).contains(&first.len()) && groups.all(|g| g.len() == 3);
    // What follows the number (a unit, decimals) must not be another list item.
    grouped && text.matches(',').count() == number.matches(',').count()
}

/// The items of a list. Where commas with a space part everything into numbers, commas without one group thousands.
fn items(text: &str) -> Option<Vec<&str>> {
    let spaced = split(text, &[", "]).filter(|parts| parts.iter().all(|p| !p.contains(',') || is_grouped_number(p)));
    spaced.or_else(|| split(text, &[","]))
}

/// Splits at any of the separators outside all brackets. None when there is nothing to split or too much. Empty parts
/// at the ends of words (`1, 2, or 3`) are left out; an empty part in front or in the middle makes it no list.
fn split<'a>(text: &'a str, separators: &[&str]) -> Option<Vec<&'a str>> {
    let mut parts = Vec::new();
    let (mut depth, mut start, mut at) = (0_i32, 0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let c = rest.chars().next()?;
        depth += match c {
            '(' | '[' | '{' | SET_OPEN => 1,
            ')' | ']' | '}' | SET_CLOSE => -1,
            _ => 0,
        };
        let separator = separators.iter().find(|s| depth == 0 && rest.starts_with(**s));
        if let Some(separator) = separator {
            parts.push(text[start..at].trim());
            at += separator.len();
            start = at;
        } else {
            at += c.len_utf8();
        }
    }
    parts.push(text[start..].trim());
    if parts.len() > 1 && parts.last().is_some_and(|p| p.is_empty()) {
        parts.pop();
    }
    let fits = start > 0 && parts.len() <= MAX_PARTS && parts.iter().all(|p| !p.is_empty());
    fits.then_some(parts)
}

/// The text between brackets that enclose all of it.
fn brackets(text: &str) -> Option<(char, &str, char)> {
    let (open, close) = (text.chars().next()?, text.chars().next_back()?);
    let fits = matches!((open, close), ('(' | '[', ')' | ']') | ('{', '}') | (SET_OPEN, SET_CLOSE));
    if !fits || text.chars().count() < 2 {
        return None;
    }
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        depth += match c {
            '(' | '[' | '{' | SET_OPEN => 1,
            ')' | ']' | '}' | SET_CLOSE => -1,
            _ => 0,
        };
        if depth == 0 && at + c.len_utf8() < text.len() {
            return None;
        }
    }
    (depth == 0).then(|| (open, &text[open.len_utf8()..text.len() - close.len_utf8()], close))
}

/// `x = 3` and `3 = x` are the value 3 under a name; `2 + 2 = 4` is 4; anything else stays a relation.
fn relation(text: &str, place: At<'_>) -> Option<Shape> {
    let mut sides: Vec<&str> = Vec::new();
    let mut relations = Vec::new();
    let (mut level, mut start, mut at) = (0_i32, 0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let c = rest.chars().next()?;
        level += match c {
            '(' | '[' | '{' | SET_OPEN => 1,
            ')' | ']' | '}' | SET_CLOSE => -1,
            _ => 0,
        };
        match RELATIONS.iter().find(|r| level == 0 && rest.starts_with(**r)) {
            Some(relation) => {
                sides.push(text[start..at].trim());
                relations.push(*relation);
                at += relation.len();
                start = at;
            }
            None => at += c.len_utf8(),
        }
    }
    sides.push(text[start..].trim());
    if relations.is_empty() || relations.len() > MAX_DEPTH || sides[1..].iter().any(|s| s.is_empty()) {
        return None;
    }
    let names_value = relations.iter().all(|r| *r == "=" || *r == "\\in ");
    let skip = usize::from(names_value && is_name(sides[0]));
    if let [value, name] = sides[..]
        && skip == 0
        && names_value
        && is_name(name)
        && !Scalar::parse(name).is_constant()
    {
        return Some(Answer::parse_nested(value, place).shape);
    }
    let sides: Vec<Answer> = sides[skip..].iter().map(|s| Answer::parse_nested(s, place)).collect();
    let last = sides.last()?;
    if names_value && sides.iter().all(|side| side.equals(last)) {
        return Some(last.shape.clone());
    }
    if skip > 0 {
        return None;
    }
    Some(Shape::Relation(sides, relations))
}

/// A name that an answer may give its value: nothing, `x`, `AB`, `f(2)`, `\angle A`, `x_1`, `length`.
fn is_name(text: &str) -> bool {
    let starts = text.chars().next().is_none_or(|c| c.is_ascii_alphabetic() || c == '\\');
    let (mut depth, mut subscript) = (0_i32, false);
    let plain = text.chars().all(|c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        let number = c.is_ascii_digit() || matches!(c, '-' | '.' | ',');
        let fits = c.is_ascii_alphabetic()
            || matches!(c, '\\' | '_' | '{' | '}' | '(' | ')' | ' ' | '\'')
            || (number && (subscript || depth > 0));
        subscript = c == '_' || (subscript && (c == '{' || c.is_ascii_digit()));
        fits
    });
    starts && plain && !text.contains("\\frac") && !text.contains("\\sqrt")
}

fn flipped(relation: &str) -> &str {
    match relation {
        "<" => ">",
        ">" => "<",
        "<=" => ">=",
        ">=" => "<=",
        other => other,
    }
}
