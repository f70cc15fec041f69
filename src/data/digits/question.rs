//! What is asked about a picture of digits.

use super::layout::SceneConfig;
use crate::data::random::Rng;

/// A kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The sum of all digits.
    Sum,
    /// The largest digit.
    Largest,
    /// The smallest digit.
    Smallest,
    /// How many digits are even.
    CountEven,
    /// The digit in one cell, counted in reading order.
    At(usize),
}

/// A question and its wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub kind: Kind,
    /// How it is asked: words with single spaces between them.
    pub text: String,
}

/// Shares of the kinds in percent, in the order sum, largest, smallest, how many are even, digit at a position.
const SHARES: [usize; 5] = [30, 15, 15, 25, 15];

const SUM: [&str; 3] =
    ["what is the sum of the digits ?", "add up all the digits .", "what is the total of all digits ?"];
const LARGEST: [&str; 3] = ["what is the largest digit ?", "which digit is the largest ?", "find the largest digit ."];
const SMALLEST: [&str; 3] =
    ["what is the smallest digit ?", "which digit is the smallest ?", "find the smallest digit ."];
const EVEN: [&str; 3] = ["how many digits are even ?", "how many even digits are there ?", "count the even digits ."];
/// `{}` is the position's name.
const AT: [&str; 3] = ["what is the digit at the {} ?", "which digit is at the {} ?", "read the digit at the {} ."];

impl Question {
    /// The right answer for digits in reading order.
    pub fn answer(&self, digits: &[u8]) -> u32 {
        match self.kind {
            Kind::At(cell) => digits.get(cell).copied().map_or(0, u32::from),
            kind => digits.iter().fold(None, |value, digit| Some(kind.next(value, *digit))).unwrap_or(0),
        }
    }
}

impl Kind {
    /// The running value after one more digit; `None` means no digit yet.
    pub(super) fn next(self, value: Option<u32>, digit: u8) -> u32 {
        let digit = u32::from(digit);
        match self {
            Self::Sum => value.unwrap_or(0) + digit,
            Self::Largest => value.map_or(digit, |v| v.max(digit)),
            Self::Smallest => value.map_or(digit, |v| v.min(digit)),
            Self::CountEven => value.unwrap_or(0) + u32::from(digit % 2 == 0),
            Self::At(_) => digit,
        }
    }
}

/// Draws a question.
pub(super) fn draw(config: &SceneConfig, rng: &mut Rng) -> Question {
    let mut at = rng.below(SHARES.iter().sum());
    let mut which = 0;
    while at >= SHARES[which] {
        at -= SHARES[which];
        which += 1;
    }
    let wording = rng.below(3);
    let cell = rng.below(config.cells());
    let (kind, text) = match which {
        0 => (Kind::Sum, SUM[wording].to_owned()),
        1 => (Kind::Largest, LARGEST[wording].to_owned()),
        2 => (Kind::Smallest, SMALLEST[wording].to_owned()),
        3 => (Kind::CountEven, EVEN[wording].to_owned()),
        _ => (Kind::At(cell), AT[wording].replace("{}", &position(config, cell))),
    };
    Question { kind, text }
}

/// A cell's name, e.g. `top left`.
fn position(config: &SceneConfig, cell: usize) -> String {
    let vertical = if cell < config.cols { "top" } else { "bottom" };
    let horizontal = match (cell % config.cols, config.cols) {
        (0, _) => "left",
        (1, 3) => "middle",
        _ => "right",
    };
    format!("{vertical} {horizontal}")
}

/// Every wording, positions spelled out; where the vocabulary comes from.
pub(super) fn wordings() -> Vec<&'static str> {
    let fixed = [SUM, LARGEST, SMALLEST, EVEN, AT].into_iter().flatten();
    fixed.chain(["top bottom left middle right"]).collect()
}
