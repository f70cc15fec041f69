//! Written by `scripts/experiment.py forecast`, not by hand.

use super::{Arm, Cell, Map, Position, Rule};

/// What the experiment on `survey` has measured.
#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "measured numbers may look like any constant")]
pub const MAP: Map<'static> = Map {
    rule: Rule::Mean,
    steps: 12,
    arms: &[
        Arm { name: "vgpo", pairs: 20, gain: [2.72, -3.62, 9.95], error: 11.45 },
        Arm { name: "predicting", pairs: 20, gain: [-1.63, -8.12, 5.68], error: 15.40 },
        Arm { name: "oracle-intra", pairs: 20, gain: [1.55, -3.63, 7.95], error: 9.37 },
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
            gains: &[-5.08, -3.37, -4.20],
        },
        Cell {
            name: "9-1.8-0.9",
            audit: Position { spearman: 0.1306, dependent_late: 0.0430, independent_gradient: 0.9654 },
            gains: &[-4.05, -6.45, -5.03],
        },
    ],
};
