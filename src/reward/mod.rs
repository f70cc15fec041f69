//! Rewards: one file per reward; pure, bounded in time, never panic, run no code.

mod boxed;
pub mod format;
pub mod math;
pub mod weighted;

use std::collections::BTreeMap;

use crate::domain::spec::RewardSpec;

/// How deep weighted sums may nest.
const MAX_NESTING: usize = 8;

/// One response to judge.
#[derive(Debug, Clone, Copy)]
pub struct RewardInput<'a> {
    /// The response's text, special tokens removed.
    pub response: &'a str,
    /// What the data set says is right.
    pub ground_truth: &'a str,
}

/// A verdict.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// The reward that training sees.
    pub reward: f64,
    /// 1 for a right answer, else 0: what accuracy counts and dynamic sampling filters by. It is the `math` part where
    /// there is one; a reward without it counts its own success.
    pub accuracy: f64,
    /// Each part's own value by name (`math`, `format` …).
    pub parts: BTreeMap<String, f64>,
    /// The answer that was found in the response.
    pub extracted: Option<String>,
}

/// Judges responses.
pub trait Reward: Send + Sync {
    /// The verdict on one response.
    fn judge(&self, input: RewardInput<'_>) -> Verdict;
}

/// A reward that cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RewardError {
    /// A weighted reward without parts.
    #[error("reward.parts is empty; give at least one {{\"weight\", \"reward\"}}, or use {{\"type\": \"math\"}}")]
    NoParts,
    /// A weight that is not finite.
    #[error("reward.parts[{index}].weight is {weight}, but must be a finite number")]
    Weight {
        /// Index of the part.
        index: usize,
        /// Its weight.
        weight: f64,
    },
    /// Weighted rewards inside weighted rewards inside …
    #[error("weighted rewards are nested more than {MAX_NESTING} deep; write the parts into one list")]
    TooDeep,
}

/// The reward that `spec` describes.
///
/// # Errors
/// Names the field that cannot work.
pub fn build(spec: &RewardSpec) -> Result<Box<dyn Reward>, RewardError> {
    build_nested(spec, 0)
}

fn build_nested(spec: &RewardSpec, depth: usize) -> Result<Box<dyn Reward>, RewardError> {
    if depth > MAX_NESTING {
        return Err(RewardError::TooDeep);
    }
    Ok(match spec {
        RewardSpec::Math => Box::new(math::Math),
        RewardSpec::Format => Box::new(format::Format),
        RewardSpec::Weighted { parts } => {
            if parts.is_empty() {
                return Err(RewardError::NoParts);
            }
            let mut built = Vec::with_capacity(parts.len());
            for (index, part) in parts.iter().enumerate() {
                if !part.weight.is_finite() {
                    return Err(RewardError::Weight { index, weight: part.weight });
                }
                built.push((part.weight, build_nested(&part.reward, depth + 1)?));
            }
            Box::new(weighted::Weighted::new(built))
        }
    })
}

/// A verdict of a reward with one part, which is also its accuracy.
fn single(name: &str, value: f64, extracted: Option<String>) -> Verdict {
    Verdict { reward: value, accuracy: value, parts: BTreeMap::from([(name.to_owned(), value)]), extracted }
}
