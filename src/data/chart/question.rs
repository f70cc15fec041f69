//! What is asked about a bar chart.

use crate::data::random::Rng;

/// Names of bars, from the left.
const NAMES: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

/// The name of a bar.
pub(super) fn bar_name(bar: usize) -> &'static str {
    NAMES[bar % NAMES.len()]
}

/// A kind of question; bars are counted from the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The value of a bar.
    Value(usize),
    /// The name of the highest bar; there is one only.
    Highest,
    /// The largest value.
    Largest,
    /// By how much the values of two bars differ.
    Difference(usize, usize),
    /// The sum of two bars.
    Sum(usize, usize),
    /// The sum of all bars.
    Total,
}

impl Kind {
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Value(_) => "value",
            Self::Highest | Self::Largest => "largest",
            Self::Difference(..) => "difference",
            Self::Sum(..) | Self::Total => "sum",
        }
    }

    pub(super) fn text(self) -> String {
        let name = bar_name;
        match self {
            Self::Value(bar) => format!("What is the value of bar {}?", name(bar)),
            Self::Highest => "Which bar is the highest?".to_owned(),
            Self::Largest => "What is the largest value in the chart?".to_owned(),
            Self::Difference(one, two) => {
                format!("What is the difference between the values of bar {} and bar {}?", name(one), name(two))
            }
            Self::Sum(one, two) => format!("What is the sum of bar {} and bar {}?", name(one), name(two)),
            Self::Total => "What is the sum of all bars?".to_owned(),
        }
    }

    pub(super) fn answer(self, values: &[u32]) -> String {
        let highest = (0..values.len()).max_by_key(|bar| values[*bar]).unwrap_or(0);
        match self {
            Self::Value(bar) => values[bar].to_string(),
            Self::Highest => bar_name(highest).to_owned(),
            Self::Largest => values[highest].to_string(),
            Self::Difference(one, two) => values[one].abs_diff(values[two]).to_string(),
            Self::Sum(one, two) => (values[one] + values[two]).to_string(),
            Self::Total => values.iter().sum::<u32>().to_string(),
        }
    }
}

/// Draws a question by lot.
pub(super) fn draw(values: &[u32], rng: &mut Rng) -> Kind {
    let one = rng.below(values.len());
    let two = (one + 1 + rng.below(values.len() - 1)) % values.len();
    let largest = values.iter().max().copied().unwrap_or(0);
    let unique = values.iter().filter(|value| **value == largest).count() == 1;
    match rng.below(8) {
        0 | 1 => Kind::Value(one),
        2 if unique => Kind::Highest,
        2 | 3 => Kind::Largest,
        4 | 5 => Kind::Difference(one, two),
        6 => Kind::Sum(one, two),
        _ => Kind::Total,
    }
}
