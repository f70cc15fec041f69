//! One value: a number or expression, perhaps with percent sign or unit, or plain text.

use super::expression::Expression;
use super::normalize::same_text;
use super::parser;
use super::symbols::DEGREES;
use super::units;
use super::value::Value;

/// Places at which a unit may begin that are tried.
const MAX_CUTS: usize = 16;
/// Values agree to this share of their size.
const TOLERANCE: f64 = 1e-9;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scalar {
    /// The text without unit, percent sign and multiplier.
    text: String,
    expression: Option<Expression>,
    /// Power of ten of a word such as `million`.
    magnitude: i32,
    percent: bool,
    unit: Option<String>,
}

impl Scalar {
    pub fn parse(text: &str) -> Self {
        let mut scalar =
            Self { text: text.trim().to_owned(), expression: None, magnitude: 0, percent: false, unit: None };
        if let Some(infinity) = infinity(&scalar.text) {
            infinity.clone_into(&mut scalar.text);
            return scalar;
        }
        let (body, percent) = strip_percent(&scalar.text);
        if percent && let Some(expression) = parser::parse(body) {
            return Self { text: body.to_owned(), expression: Some(expression), percent, ..scalar };
        }
        // The degrees of an angle inside of a sine are not a unit of the result.
        if scalar.text.contains(DEGREES)
            && let Some(expression) = parser::parse(&scalar.text)
        {
            return Self { expression: Some(expression), ..scalar };
        }
        // Before the text as a whole, which would read `5 cm` as the product of 5, c and m.
        if let Some((body, expression, (magnitude, unit))) = split_unit(&scalar.text) {
            let unit = Some(unit).filter(|u| !u.is_empty());
            return Self { text: body, expression: Some(expression), magnitude, unit, ..scalar };
        }
        scalar.expression = parser::parse(&scalar.text);
        scalar
    }

    /// Units must agree where both have one; without a unit on either side, the number alone decides.
    pub fn equals(&self, other: &Self) -> bool {
        if let (Some(a), Some(b)) = (&self.unit, &other.unit)
            && a != b
        {
            return false;
        }
        let (Some(a), Some(b)) = (&self.expression, &other.expression) else {
            return self.expression.is_none() == other.expression.is_none() && same_text(&self.text, &other.text);
        };
        if let (Some(x), Some(y)) = (self.value(a), other.value(b)) {
            let rounded = a.decimal || b.decimal;
            let same = |x: Value, y: Value| x.equals(y, rounded, TOLERANCE);
            let hundredth = Value::integer(1).divide(Value::integer(100));
            return same(x, y)
                || (self.percent && !other.percent && same(x.multiply(hundredth), y))
                || (other.percent && !self.percent && same(x, y.multiply(hundredth)));
        }
        a.equals(b).unwrap_or_else(|| same_text(&self.text, &other.text))
    }

    /// Is it this text, which is not an expression?
    pub fn is_text(&self, text: &str) -> bool {
        self.expression.is_none() && self.text == text
    }

    /// Is it a variable alone?
    pub fn is_variable(&self) -> bool {
        self.unit.is_none() && !self.percent && self.expression.as_ref().is_some_and(Expression::is_variable)
    }

    /// Is it a number, or infinite?
    pub fn is_constant(&self) -> bool {
        infinity(&self.text).is_some() || self.expression.as_ref().is_some_and(|e| e.variables.is_empty())
    }

    /// The value of a number without variables.
    pub fn number(&self) -> Option<f64> {
        let expression = self.expression.as_ref().filter(|expression| expression.variables.is_empty())?;
        let value = self.value(expression)?.approx;
        let value = if self.percent { value / 100.0 } else { value };
        value.is_finite().then_some(value)
    }

    fn value(&self, expression: &Expression) -> Option<Value> {
        let scale = Value::integer(10).power(Value::integer(i128::from(self.magnitude)));
        expression.value().map(|v| if self.magnitude == 0 { v } else { v.multiply(scale) })
    }
}

/// Both infinities in all their spellings.
fn infinity(text: &str) -> Option<&'static str> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-\\infty", rest),
        None => ("\\infty", text.strip_prefix('+').unwrap_or(text)),
    };
    let names = ["\\infty", "\\infinity", "infinity", "infty", "inf", "oo"];
    names.contains(&rest.trim().to_lowercase().as_str()).then_some(sign)
}

fn strip_percent(text: &str) -> (&str, bool) {
    for mark in ["%", "percent", "per cent"] {
        if let Some(body) = text.strip_suffix(mark) {
            return (body.trim_end(), true);
        }
    }
    (text, false)
}

/// Splits `5 cm`, `1.2 million`, `3 million dollars` into the number and (power of ten, unit): the first place after
/// which everything is a phrase of units, and before which there is a number.
fn split_unit(text: &str) -> Option<(String, Expression, (i32, String))> {
    let bytes = text.as_bytes();
    let starts = (1..bytes.len()).filter(|&i| {
        let (before, here) = (bytes[i - 1], bytes[i]);
        (here.is_ascii_alphabetic() && !before.is_ascii_alphabetic() && before != b'\\')
            || (here == b'\\' && text[i..].starts_with("\\Omega"))
    });
    for start in starts.take(MAX_CUTS) {
        let after_space = bytes[start - 1] == b' ';
        let (magnitude, phrase) = strip_magnitude(&text[start..]);
        let phrase = phrase.replace("\\Omega", "ohm");
        let Some(unit) = units::canonical(&phrase, after_space || magnitude > 0) else { continue };
        let body = text[..start].trim_end();
        if let Some(expression) = parser::parse(body).filter(|e| e.variables.is_empty()) {
            return Some((body.to_owned(), expression, (magnitude, unit)));
        }
    }
    None
}

fn strip_magnitude(phrase: &str) -> (i32, &str) {
    for (word, power) in [("thousand", 3), ("million", 6), ("billion", 9), ("trillion", 12)] {
        if let Some(rest) = phrase.strip_prefix(word) {
            let rest = rest.strip_prefix('s').unwrap_or(rest);
            if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return (power, rest);
            }
        }
    }
    (0, phrase)
}
