//! What is asked about all digits of a picture.

use crate::data::random::Rng;

/// A kind of question. Each needs every digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The last digit of the sum.
    Sum,
    /// How many digits are even.
    Even,
    /// How many digits are larger than four.
    Large,
}

/// A question and its wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub kind: Kind,
    /// How it is asked: words with single spaces between them.
    pub text: &'static str,
}

const SUM: [&str; 3] = [
    "what is the last digit of the sum of all digits ?",
    "add up all digits . how does the sum end ?",
    "with which digit does the total of all digits end ?",
];
const EVEN: [&str; 3] = ["how many digits are even ?", "how many even digits are there ?", "count the even digits ."];
const LARGE: [&str; 3] =
    ["how many digits are larger than 4 ?", "how many digits larger than 4 are there ?", "count the digits above 4 ."];

impl Kind {
    /// The running value after one more digit.
    pub(super) fn next(self, value: u32, digit: u8) -> u32 {
        match self {
            Self::Sum => (value + u32::from(digit)) % 10,
            Self::Even => value + u32::from(digit.is_multiple_of(2)),
            Self::Large => value + u32::from(digit > 4),
        }
    }

    /// The answer for these digits.
    pub fn answer(self, digits: &[u8]) -> u32 {
        digits.iter().fold(0, |value, digit| self.next(value, *digit))
    }

    /// What a response calls the running value.
    pub(super) fn value_name(self) -> &'static str {
        match self {
            Self::Sum => "total",
            Self::Even => "even",
            Self::Large => "large",
        }
    }

    /// The kind as a tag.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Even => "even",
            Self::Large => "large",
        }
    }
}

/// Draws a question; the kinds are equally frequent.
pub(super) fn draw(rng: &mut Rng) -> Question {
    let (kind, wordings) = [(Kind::Sum, SUM), (Kind::Even, EVEN), (Kind::Large, LARGE)][rng.below(3)];
    Question { kind, text: wordings[rng.below(wordings.len())] }
}

/// Every wording; where the vocabulary comes from.
pub(super) fn wordings() -> impl Iterator<Item = &'static str> {
    [SUM, EVEN, LARGE].into_iter().flatten()
}
