//! Rewards: one file per reward; pure, bounded in time, never panic, run no code.

use std::collections::BTreeMap;

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
    /// 1 for a right answer, else 0: what accuracy counts and dynamic sampling filters by.
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
