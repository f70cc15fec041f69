//! Ground truths that rewards cannot read, found before a job spends hours on rows whose every response gets 0.

use super::{answer_text, boxes, math, multiple_choice};
use crate::domain::spec::RewardSpec;

/// The rewards of `spec` that cannot read `truth`: each one's name, and what it looks for.
pub fn blind_to(spec: &RewardSpec, truth: &str) -> Vec<(&'static str, &'static str)> {
    let inner = answer_text::truth(truth);
    let (name, what, reads) = match spec {
        RewardSpec::Weighted { parts } => {
            return parts.iter().flat_map(|part| blind_to(&part.reward, truth)).collect();
        }
        RewardSpec::Iou { .. } => ("iou", "box", !boxes::boxes(truth).is_empty()),
        RewardSpec::Numeric { .. } => ("numeric", "number", math::number(inner).is_some()),
        RewardSpec::Choice => ("choice", "option", multiple_choice::option(inner).is_some()),
        // The others compare any text; rows without one are reported when rows are checked.
        _ => return Vec::new(),
    };
    if reads { Vec::new() } else { vec![(name, what)] }
}
