//! Written by `scripts/experiment.py forecast`, not by hand.

use super::{Arm, Cell, Map, Position, Rule};

/// What the experiment on `survey` has measured.
#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "measured numbers may look like any constant")]
pub const MAP: Map<'static> = Map {
    rule: Rule::Mean,
    steps: 12,
    arms: &[
        Arm { name: "vgpo", pairs: 10, gain: [1.74, -3.14, 6.35], error: 8.83 },
        Arm { name: "predicting", pairs: 10, gain: [-4.71, -10.98, 0.43], error: 11.31 },
        Arm { name: "oracle-intra", pairs: 10, gain: [-1.82, -5.08, 1.23], error: 3.27 },
    ],
    cells: &[
        Cell {
            name: "6-0.5-0.9",
            audit: Position { spearman: 0.0109, dependent_late: 0.0584, independent_gradient: 0.8225 },
            gains: &[9.28, -21.97, 2.05],
        },
        Cell {
            name: "6-1.8-0.6",
            audit: Position { spearman: 0.0102, dependent_late: 0.0531, independent_gradient: 0.9579 },
            gains: &[0.88, -0.59, -5.66],
        },
        Cell {
            name: "9-0.5-0.6",
            audit: Position { spearman: 0.0532, dependent_late: 0.0517, independent_gradient: 0.8495 },
            gains: &[-5.37, -0.20, -1.17],
        },
        Cell {
            name: "9-1.5-0.75",
            audit: Position { spearman: 0.0882, dependent_late: 0.0513, independent_gradient: 0.9471 },
            gains: &[10.35, 3.91, -0.78],
        },
        Cell {
            name: "9-1.8-0.9",
            audit: Position { spearman: 0.1306, dependent_late: 0.0430, independent_gradient: 0.9654 },
            gains: &[-6.45, -4.69, -3.52],
        },
    ],
};
