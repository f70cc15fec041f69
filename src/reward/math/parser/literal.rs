//! Numbers as people write them.

use super::super::expression::{Node, Operator};
use super::super::value::Value;
use super::{Parser, binary};

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
            let fraction = self.digits();
            decimals = fraction.len();
            self.decimal |= decimals > 0;
            digits += &fraction;
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
