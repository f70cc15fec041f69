//! Written by `scripts/experiment.py forecast`, not by hand.

use super::{Arm, Cell, Map, Position, Rule};

/// What the experiment on `survey` has measured.
#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "measured numbers may look like any constant")]
pub const MAP: Map<'static> = Map {
    rule: Rule::Mean,
    steps: 12,
    arms: &[
        Arm { name: "vgpo", pairs: 16, gain: [1.46, -5.64, 10.18], error: 10.78 },
        Arm { name: "predicting", pairs: 16, gain: [-2.67, -9.35, 5.62], error: 14.64 },
        Arm { name: "oracle-intra", pairs: 16, gain: [0.61, -4.28, 7.91], error: 7.30 },
    ],
    cells: &[
        Cell {
            name: "6-0.5-0.9",
            audit: Position { spearman: 0.0109, dependent_late: 0.0584, independent_gradient: 0.8225 },
            gains: &[4.75, -21.35, 0.52],
        },
        Cell {
            name: "6-1.8-0.6",
            audit: Position { spearman: 0.0102, dependent_late: 0.0531, independent_gradient: 0.9579 },
            gains: &[17.64, 15.17, 12.17],
        },
        Cell {
            name: "9-0.5-0.6",
            audit: Position { spearman: 0.0532, dependent_late: 0.0517, independent_gradient: 0.8495 },
            gains: &[-3.97, 1.11, -1.11],
        },
        Cell {
            name: "9-1.5-0.75",
            audit: Position { spearman: 0.0882, dependent_late: 0.0513, independent_gradient: 0.9471 },
            gains: &[-5.08, -3.37, -4.20],
        },
        Cell {
            name: "9-1.8-0.9",
            audit: Position { spearman: 0.1306, dependent_late: 0.0430, independent_gradient: 0.9654 },
            gains: &[-3.84, -4.69, -2.73],
        },
    ],
};
