//! What visual weights are likely to gain with a model and a data set, by experiments whose audits looked alike. The
//! table is empty until such experiments have been run over a range of tasks; nothing is forecast without it.

/// A task on which weighting was compared with plain DAPO, and what its audit had said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// What the audit measured.
    pub audit: Position,
    /// Points of accuracy that visual weights gained, and the ends of the 95% interval.
    pub gain: [f64; 3],
}

/// What of an audit decides about the gain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Rank correlation of focus with dependency.
    pub spearman: f64,
    /// Share of the last third's tokens that depend on the image.
    pub dependent_late: f64,
    /// Share of the gradient's variance on tokens that do not depend on the image.
    pub independent_gradient: f64,
}

/// The measured tasks.
pub const MAP: &[Cell] = &[];

/// The task whose audit was closest; none where nothing was measured.
pub fn nearest(map: &[Cell], audit: Position) -> Option<Cell> {
    let distance = |cell: &Cell| {
        let Position { spearman, dependent_late, independent_gradient } = cell.audit;
        let gaps = [
            audit.spearman - spearman,
            audit.dependent_late - dependent_late,
            audit.independent_gradient - independent_gradient,
        ];
        gaps.iter().map(|gap| gap * gap).sum::<f64>()
    };
    map.iter().copied().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// The forecast in words.
pub fn words(map: &[Cell], audit: Position) -> String {
    match nearest(map, audit) {
        None => "no forecast: map not measured".to_owned(),
        Some(Cell { gain: [gain, low, high], .. }) => {
            let likely = if low > 0.0 {
                "likely to help"
            } else if high < 0.0 {
                "likely to hurt"
            } else {
                "likely to do nothing"
            };
            let range = format!("{gain:+.1} points [{low:+.1}, {high:+.1}]");
            format!("visual weights are {likely}: {range} on the closest task that was measured")
        }
    }
}
