//! The visual focus of a response.

use super::answer::Visual;
use crate::algorithm::signals::VisualSignals;

/// Means of a response's focus scores; none without images.
pub fn visual(focus: &[f64]) -> Option<Visual> {
    let mut signals = VisualSignals::default();
    signals.add_focus(focus);
    let summary = signals.summary();
    Some(Visual {
        focus_mean: summary.focus_mean?,
        focus_early: summary.focus_early?,
        focus_late: summary.focus_late?,
        late_early_ratio: summary.late_early_ratio,
    })
}
