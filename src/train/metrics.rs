//! Values of one step by metric key.

use std::collections::BTreeMap;

use crate::domain::eval_row::Thirds;
use crate::reward::Verdict;

use super::rollout::{AttentionShares, Rollout};

/// Metric values of a step, as they are collected.
#[derive(Debug, Clone, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// These values.
    pub fn of(values: BTreeMap<String, f64>) -> Self {
        Self(values)
    }

    /// Sets one value.
    pub fn set(&mut self, key: impl Into<String>, value: f64) {
        self.0.insert(key.into(), value);
    }

    /// One value, 0 when unset.
    pub fn get(&self, key: &str) -> f64 {
        self.0.get(key).copied().unwrap_or(0.0)
    }

    /// One value, if it is set.
    pub fn find(&self, key: &str) -> Option<f64> {
        self.0.get(key).copied()
    }

    /// Takes one value out.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Adds many values.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// All values by key.
    pub fn into_values(self) -> BTreeMap<String, f64> {
        self.0
    }

    /// Mean and standard deviation under `{key}/mean` and `{key}/std`.
    pub fn spread(&mut self, key: &str, values: &[f64]) {
        let mean = mean(values);
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len().max(1) as f64;
        self.set(format!("{key}/mean"), mean);
        self.set(format!("{key}/std"), variance.sqrt());
    }

    /// Rewards, their parts and accuracy.
    pub fn rewards(&mut self, verdicts: &[&Verdict]) {
        let rewards: Vec<f64> = verdicts.iter().map(|v| v.reward).collect();
        self.spread("reward", &rewards);
        let accuracies: Vec<f64> = verdicts.iter().filter_map(|v| v.accuracy).collect();
        if !accuracies.is_empty() {
            self.set("accuracy", mean(&accuracies));
        }
        let mut parts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, value) in verdicts.iter().flat_map(|v| &v.parts) {
            parts.entry(name).or_default().push(*value);
        }
        for (name, values) in parts {
            self.spread(&format!("reward/{name}"), &values);
        }
    }

    /// Shares of attention.
    pub fn attention(&mut self, attention: &AttentionSummary) {
        let shares = attention.means();
        let (early, late) = attention.early_late();
        self.set("attention/image", shares.image);
        self.set("attention/query", shares.query);
        self.set("attention/generated", shares.generated);
        for (name, share) in [("early", early), ("late", late)] {
            self.set(format!("attention/image_{name}"), share.image);
            self.set(format!("attention/query_{name}"), share.query);
            self.set(format!("attention/generated_{name}"), share.generated);
        }
    }

    /// Lengths of responses and the share that was cut off.
    pub fn lengths(&mut self, rollouts: &[&Rollout]) {
        let lengths: Vec<f64> = rollouts.iter().map(|r| r.tokens.len() as f64).collect();
        self.set("response_length/mean", mean(&lengths));
        self.set("response_length/min", lengths.iter().copied().fold(f64::INFINITY, f64::min));
        self.set("response_length/max", lengths.iter().copied().fold(0.0, f64::max));
        let cut = rollouts.iter().filter(|r| r.cut_off).count();
        self.set("response_length/cut_off", cut as f64 / rollouts.len().max(1) as f64);
    }
}

/// The mean; 0 for nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Attention over many responses: means over tokens, over the first third and over the last third of each response.
#[derive(Debug, Clone, Default)]
pub struct AttentionSummary {
    all: SharesSum,
    early: SharesSum,
    late: SharesSum,
}

impl AttentionSummary {
    /// Adds one response.
    pub fn add(&mut self, response: &[AttentionShares]) {
        let third = Thirds::third(response.len());
        self.all.add(response);
        self.early.add(&response[..third]);
        self.late.add(&response[response.len() - third..]);
    }

    /// Mean shares over all tokens.
    pub fn means(&self) -> AttentionShares {
        self.all.mean()
    }

    /// Mean shares in the first and in the last third.
    pub fn early_late(&self) -> (AttentionShares, AttentionShares) {
        (self.early.mean(), self.late.mean())
    }
}

#[derive(Debug, Clone, Default)]
struct SharesSum {
    count: usize,
    sum: AttentionShares,
}

impl SharesSum {
    fn add(&mut self, shares: &[AttentionShares]) {
        self.count += shares.len();
        for share in shares {
            self.sum.image += share.image;
            self.sum.query += share.query;
            self.sum.generated += share.generated;
        }
    }

    fn mean(&self) -> AttentionShares {
        let count = self.count.max(1) as f64;
        let AttentionShares { image, query, generated } = self.sum;
        AttentionShares { image: image / count, query: query / count, generated: generated / count }
    }
}

/// Adds up thirds, every token counted once.
#[derive(Debug, Default)]
pub(super) struct ThirdsSum {
    tokens: f64,
    third_tokens: f64,
    mean: f64,
    early: f64,
    late: f64,
}

impl ThirdsSum {
    pub(super) fn add(&mut self, thirds: Option<Thirds>, tokens: usize) {
        let Some(Thirds { mean, early, late }) = thirds else { return };
        let third = Thirds::third(tokens) as f64;
        self.tokens += tokens as f64;
        self.third_tokens += third;
        self.mean += mean * tokens as f64;
        self.early += early * third;
        self.late += late * third;
    }

    pub(super) fn mean(&self) -> Option<Thirds> {
        (self.tokens > 0.0).then(|| Thirds {
            mean: self.mean / self.tokens,
            early: self.early / self.third_tokens,
            late: self.late / self.third_tokens,
        })
    }
}
