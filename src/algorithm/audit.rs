//! How well focus ranks the tokens of a response by how much they depend on the image, and how much of the gradient's
//! variance is on tokens that do not: pure statistics over per-token numbers, for audits.

use crate::domain::eval_row::{ResponseAudit, Thirds};

/// What was measured of the tokens of a response; every list has one entry per token.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenAudit {
    /// KL from the distribution with the image to that without it, in nats.
    pub dependency: Vec<f64>,
    /// Cosine of the token's state with the visual prototype.
    pub reading: Vec<f64>,
    /// The same of the state that predicts the token.
    pub predicting: Vec<f64>,
    /// Variance of the gradient of the token's log-prob at the logits.
    pub gradient: Vec<f64>,
}

impl TokenAudit {
    /// The summary of a response; a token depends on the image if its dependency reaches `threshold`. None for no
    /// tokens.
    pub fn summary(&self, threshold: f64) -> Option<ResponseAudit> {
        let depends: Vec<bool> = self.dependency.iter().map(|d| *d >= threshold).collect();
        let shares: Vec<f64> = depends.iter().map(|depends| f64::from(u8::from(*depends))).collect();
        let tokens = depends.len();
        let third = Thirds::third(tokens);
        let within = |part: std::ops::Range<usize>| auc(self.reading.get(part.clone())?, depends.get(part)?);
        let independent = self.gradient.iter().zip(&depends).filter(|(_, depends)| !**depends);
        Some(ResponseAudit {
            dependency: Thirds::of(&self.dependency)?,
            dependent: Thirds::of(&shares)?,
            spearman: spearman(&self.reading, &self.dependency),
            spearman_predicting: spearman(&self.predicting, &self.dependency),
            auc: auc(&self.reading, &depends),
            auc_predicting: auc(&self.predicting, &depends),
            auc_early: within(0..third),
            auc_middle: within(third..(tokens - third).max(third)),
            auc_late: within(tokens - third..tokens),
            gradient: self.gradient.iter().sum(),
            gradient_independent: independent.map(|(gradient, _)| gradient).sum(),
        })
    }
}

/// Ranks from 1, equal values sharing the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let below = order.partition_point(|index| values[*index] < values[equal[0]]);
        let shared = below as f64 + f64::midpoint(equal.len() as f64, 1.0);
        for index in equal {
            ranks[*index] = shared;
        }
    }
    ranks
}

/// Spearman's rank correlation: Pearson's of the ranks. None where there are fewer than two values, or all values of a
/// list are equal.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    // Ranks have the same mean, shared or not.
    let mean = f64::midpoint(a.len() as f64, 1.0);
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let spread = product(&a, &a) * product(&b, &b);
    (spread > 0.0).then(|| product(&a, &b) / spread.sqrt())
}

/// The chance that one of the `positive` has a higher score than one of the others, equal scores counting half (the
/// area under the ROC curve). None where all or none are positive.
pub fn auc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    if scores.len() != positive.len() {
        return None;
    }
    let count = positive.iter().filter(|positive| **positive).count() as f64;
    let others = positive.len() as f64 - count;
    if count == 0.0 || others == 0.0 {
        return None;
    }
    let sum: f64 = ranks(scores).iter().zip(positive).filter(|(_, positive)| **positive).map(|(rank, _)| rank).sum();
    Some((sum - count * (count + 1.0) / 2.0) / (count * others))
}
