//! Written by `scripts/experiment.py forecast`, not by hand.

use super::{Map, Rule};

/// What the experiment on `survey` has measured.
#[rustfmt::skip]
pub const MAP: Map<'static> = Map {
    rule: Rule::Mean,
    steps: 0,
    arms: &[
    ],
    cells: &[
    ],
};
