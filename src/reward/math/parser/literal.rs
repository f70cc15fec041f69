//! Numbers as people write them.

use super::super::expression::{Node, Operator};
use super::super::value::Value;
use super::{Parser, binary};

/// Longest period of a repeating decimal.
const MAX_PERIOD: usize = 12;

/// A decimal whose last digits repeat: `digits`, of which `decimals` are after the point, then `period` repeating.
fn periodic(digits: &str, decimals: usize, period: &str) -> Option<Value> {
    let digits = if digits.is_empty() { "0" } else { digits };
    let shift = 10_i128.checked_pow(u32::try_from(decimals).ok()?)?;
    let nines = 10_i128.pow(u32::try_from(period.len()).ok()?) - 1;
    let before = Value::integer(digits.parse().ok()?).divide(Value::integer(shift));
    let repeated = Value::integer(period.parse().ok()?).divide(Value::integer(shift.checked_mul(nines)?));
    Some(before.add(repeated))
}

impl Parser<'_> {
    /// A literal: `42`, `.5`, `1,000`, `1 000`, `1.5e3`, and the mixed number `7 3/4`.
    pub(super) fn number(&mut self) -> Option<Node> {
        let mut digits = self.digits();
        let separator = self.peek().filter(|c| matches!(c, b',' | b' '));
        if let Some(separator) = separator
            && (1..=3).contains(&digits.len())
        {
            while self.peek() == Some(separator) && self.group_of_three(self.position + 1) {
                self.position += 1;
                digits += &self.digits();
            }
        }
        let mut decimals = 0;
        if self.peek() == Some(b'.') {
            self.position += 1;
            let before = self.decimal;
            let fraction = self.digits();
            decimals = fraction.len();
            self.decimal |= decimals > 0;
            digits += &fraction;
            if let Some(repeating) = self.repeating() {
                self.decimal = before;
                return Some(Node::Number(periodic(&digits, decimals, &repeating)?));
            }
        }
        if digits.is_empty() {
            return None;
        }
        let exponent = self.exponent();
        let node = Node::Number(Value::literal(&digits, decimals, exponent.unwrap_or(0)));
        if decimals == 0
            && exponent.is_none()
            && let Some(fraction) = self.mixed_fraction()
        {
            return Some(binary(Operator::Add, node, Node::Number(fraction)));
        }
        Some(node)
    }

    /// The digits that repeat forever: `\overline{3}`, `\bar{3}`, `\dot{3}`, `(3)`.
    fn repeating(&mut self) -> Option<String> {
        let start = self.position;
        let marked = ["\\overline", "\\bar", "\\dot"].iter().any(|mark| self.take(mark));
        let digits = if marked {
            self.spaces();
            self.plain_argument()
        } else if self.take("(") {
            let digits = self.digits();
            self.take(")").then_some(digits)
        } else {
            None
        };
        let digits = digits.filter(|digits| (1..=MAX_PERIOD).contains(&digits.len()));
        if digits.is_none() {
            self.position = start;
        }
        digits
    }

    fn group_of_three(&self, at: usize) -> bool {
        let digits = self.text[at.min(self.text.len())..].iter().take_while(|c| c.is_ascii_digit()).count();
        digits == 3 && !matches!(self.text.get(at + 3), Some(b'/'))
    }

    /// `e3` or `E-5` after a literal.
    fn exponent(&mut self) -> Option<i32> {
        let rest = self.text[self.position..].strip_prefix(b"e").or(self.text[self.position..].strip_prefix(b"E"))?;
        let sign = usize::from(matches!(rest.first(), Some(b'+' | b'-')));
        let digits = rest[sign..].iter().take_while(|c| c.is_ascii_digit()).count();
        let exponent = std::str::from_utf8(&rest[..sign + digits]).ok()?.parse().ok()?;
        self.position += 1 + sign + digits;
        Some(exponent)
    }

    /// The fraction of a mixed number: `\frac{3}{4}`, `\frac34`, or ` 3/4` after a space; proper, of plain digits.
    fn mixed_fraction(&mut self) -> Option<Value> {
        let start = self.position;
        let spaced = self.peek() == Some(b' ');
        self.spaces();
        let parts = if self.take("\\frac") {
            self.plain_argument().zip(self.plain_argument())
        } else if spaced && self.peek().is_some_and(|c| c.is_ascii_digit()) {
            let numerator = self.digits();
            self.take("/").then(|| (numerator, self.digits()))
        } else {
            None
        };
        let fraction = parts.and_then(|(numerator, denominator)| {
            let (n, d): (i128, i128) = (numerator.parse().ok()?, denominator.parse().ok()?);
            (n < d).then(|| Value::integer(n).divide(Value::integer(d)))
        });
        if fraction.is_none() {
            self.position = start;
        }
        fraction
    }

    /// `{12}` or one digit.
    fn plain_argument(&mut self) -> Option<String> {
        if self.take("{") {
            let digits = self.digits();
            return self.take("}").then_some(digits);
        }
        let digit = self.peek().filter(u8::is_ascii_digit)?;
        self.position += 1;
        Some(char::from(digit).to_string())
    }
}
