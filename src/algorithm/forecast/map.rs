//! Written by `scripts/experiment.py forecast`, not by hand.

use super::{Arm, Cell, Map, Position, Rule};

/// What the experiment on `survey` has measured.
#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "measured numbers may look like any constant")]
pub const MAP: Map<'static> = Map {
    rule: Rule::Mean,
    steps: 12,
    arms: &[
        Arm { name: "vgpo", pairs: 26, gain: [3.38, -1.05, 8.35], error: 10.85 },
        Arm { name: "predicting", pairs: 26, gain: [-1.41, -5.34, 2.91], error: 15.37 },
        Arm { name: "oracle-intra", pairs: 26, gain: [1.87, -2.81, 6.83], error: 9.10 },
    ],
    cells: &[
        Cell {
            name: "6-0.5-0.9",
            audit: Position { spearman: 0.0109, dependent_late: 0.0584, independent_gradient: 0.8225 },
            gains: &[4.39, -19.63, -0.93],
        },
        Cell {
            name: "6-1.8-0.6",
            audit: Position { spearman: 0.0102, dependent_late: 0.0531, independent_gradient: 0.9579 },
            gains: &[19.82, 17.97, 15.62],
        },
        Cell {
            name: "9-0.5-0.6",
            audit: Position { spearman: 0.0532, dependent_late: 0.0517, independent_gradient: 0.8495 },
            gains: &[-1.46, 3.32, 2.29],
        },
        Cell {
            name: "9-1.5-0.75",
            audit: Position { spearman: 0.0882, dependent_late: 0.0513, independent_gradient: 0.9471 },
            gains: &[-1.78, -2.25, -2.62],
        },
        Cell {
            name: "9-1.8-0.9",
            audit: Position { spearman: 0.1306, dependent_late: 0.0430, independent_gradient: 0.9654 },
            gains: &[-4.05, -6.45, -5.03],
        },
    ],
};
