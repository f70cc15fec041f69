//! Written by `scripts/experiment.py forecast`, not by hand.

use super::{Arm, Cell, Map, Position, Rule};

/// What the experiment on `survey` has measured.
#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "measured numbers may look like any constant")]
pub const MAP: Map<'static> = Map {
    rule: Rule::Mean,
    steps: 12,
    arms: &[
        Arm { name: "vgpo", pairs: 50, gain: [1.82, -0.96, 4.84], error: 5.57 },
        Arm { name: "predicting", pairs: 50, gain: [-0.88, -3.73, 2.30], error: 5.28 },
        Arm { name: "oracle-intra", pairs: 50, gain: [-0.07, -2.64, 2.79], error: 5.35 },
    ],
    cells: &[
        Cell {
            name: "6-0.5-0.9",
            audit: Position { spearman: 0.0109, dependent_late: 0.0584, independent_gradient: 0.8225 },
            gains: &[5.29, -5.59, 0.49],
        },
        Cell {
            name: "6-1.8-0.6",
            audit: Position { spearman: 0.0102, dependent_late: 0.0531, independent_gradient: 0.9579 },
            gains: &[8.79, 7.07, 6.66],
        },
        Cell {
            name: "9-0.5-0.6",
            audit: Position { spearman: 0.0532, dependent_late: 0.0517, independent_gradient: 0.8495 },
            gains: &[-2.71, -1.70, 1.33],
        },
        Cell {
            name: "9-1.5-0.75",
            audit: Position { spearman: 0.0882, dependent_late: 0.0513, independent_gradient: 0.9471 },
            gains: &[-1.78, -2.25, -2.62],
        },
        Cell {
            name: "9-1.8-0.9",
            audit: Position { spearman: 0.1306, dependent_late: 0.0430, independent_gradient: 0.9654 },
            gains: &[-0.47, -1.95, -6.19],
        },
    ],
};
