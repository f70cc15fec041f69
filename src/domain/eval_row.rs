//! One row of an evaluation and what became of it: the smallest record from which every evaluation metric can be
//! computed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The file with the rows of one chunk of an evaluation: an [`EvalRow`] a line.
pub const ROWS_FILE: &str = "rows.jsonl";

/// The part of the artifact store that holds rows of evaluations.
pub const ROWS: &str = "rows";

/// The key of a run's chunks in the artifact store.
pub fn rows_folder(run_id: &str) -> String {
    format!("{ROWS}/{run_id}")
}

/// The key of one chunk of a run in the artifact store; chunks are numbered from 1.
pub fn chunk_key(run_id: &str, chunk: u64) -> String {
    format!("{}/{chunk:08}", rows_folder(run_id))
}

/// The name before the step of an evaluation of a run that trains, in the run's folder of rows.
const AT_STEP: &str = "step-";

/// The key of the rows of an evaluation that a run made at `step` of its training.
pub fn evaluation_key(run_id: &str, step: u64) -> String {
    format!("{}/{AT_STEP}{step:08}", rows_folder(run_id))
}

/// The step of a key of [`evaluation_key`]; none for other keys.
pub fn evaluated_step(key: &str) -> Option<u64> {
    key.rsplit('/').next()?.strip_prefix(AT_STEP)?.parse().ok()
}

/// A held-out row with the model's responses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalRow {
    /// Row of the data set.
    pub row: u64,
    /// The row's tags.
    pub tags: Vec<String>,
    /// The row's question, before template and chat template.
    pub prompt: String,
    /// The ground truth.
    pub answer: String,
    /// The responses that were scored.
    pub responses: Vec<EvalResponse>,
    /// Responses without a verdict of the reward; they are not counted.
    pub unjudged: u64,
}

/// One response of an [`EvalRow`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalResponse {
    /// The text, without special tokens.
    pub text: String,
    /// Its length in tokens, the end token included.
    pub tokens: u64,
    /// Was it cut off by the length limit?
    pub cut_off: bool,
    /// Is the answer correct? Null if the reward does not judge answers.
    pub correct: Option<bool>,
    /// Its contribution to accuracy: 1 for a correct answer, else 0, or a value in between for graded rewards; null as
    /// above.
    pub accuracy: Option<f64>,
    /// The reward.
    pub reward: f64,
    /// Its parts by name.
    pub reward_parts: BTreeMap<String, f64>,
    /// The answer that the reward extracted.
    pub extracted: Option<String>,
    /// Visual focus score; null for text-only prompts.
    pub focus: Option<Thirds>,
    /// Attention to the image; null for text-only prompts.
    pub attention_image: Option<Thirds>,
    /// Visual focus along the response: means over its tokens by position, in 16 parts of equal length (null for a part
    /// without a token). Absent for text-only prompts, and in rows that an earlier version stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focus_along: Option<Vec<Option<f64>>>,
    /// Dependence on the image: the KL from a token's distribution with the image to that without it, in nats. Absent
    /// where it was not asked for (`eval.image_dependence`), and for text-only prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_dependence: Option<Thirds>,
    /// What an audit measured; absent where none was asked for, and for text-only prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<ResponseAudit>,
}

impl EvalResponse {
    /// Dependence on the image, by whichever of the two measured it.
    pub fn dependence(&self) -> Option<Thirds> {
        self.image_dependence.or(self.audit.map(|audit| audit.dependency))
    }
}

/// How much the tokens of a response depend on the image, and how well their focus tells it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResponseAudit {
    /// Dependency on the image: the KL from a token's distribution with the image to that without it, in nats.
    pub dependency: Thirds,
    /// Share of tokens that depend on the image (whose dependency reaches the threshold).
    pub dependent: Thirds,
    /// Rank correlation (Spearman) of focus with dependency; null where either is the same for all tokens.
    pub spearman: Option<f64>,
    /// The same with the focus of the state that predicts the token.
    pub spearman_predicting: Option<f64>,
    /// The chance that a token that depends has more focus than one that does not; null where all or none do.
    pub auc: Option<f64>,
    /// The same with the focus of the state that predicts the token.
    pub auc_predicting: Option<f64>,
    /// `auc` within the first third of the response.
    pub auc_early: Option<f64>,
    /// `auc` between the first and the last third.
    pub auc_middle: Option<f64>,
    /// `auc` within the last third.
    pub auc_late: Option<f64>,
    /// Variance of the gradient of the tokens' log-probs at the logits, summed over the response.
    pub gradient: f64,
    /// The part of it that is on tokens that do not depend on the image.
    pub gradient_independent: f64,
}

/// Parts of a response in [`EvalResponse::focus_along`].
pub const ALONG: usize = 16;

/// Sums of a per-token quantity by position along responses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Along {
    sums: [f64; ALONG],
    counts: [u64; ALONG],
}

impl Along {
    /// The part that token `token` of `tokens` belongs to.
    fn part(token: u64, tokens: u64) -> usize {
        ((2 * token + 1) * ALONG as u64 / (2 * tokens).max(1)).min(ALONG as u64 - 1) as usize
    }

    /// Adds a response, a value per token.
    pub fn add(&mut self, values: &[f64]) {
        for (token, value) in values.iter().enumerate() {
            let part = Self::part(token as u64, values.len() as u64);
            self.sums[part] += value;
            self.counts[part] += 1;
        }
    }

    /// Adds a response of `tokens` tokens by its means, every token counted once.
    pub fn add_means(&mut self, means: &[Option<f64>], tokens: u64) {
        for token in 0..tokens {
            let part = Self::part(token, tokens);
            if let Some(mean) = means.get(part).copied().flatten() {
                self.sums[part] += mean;
                self.counts[part] += 1;
            }
        }
    }

    /// The mean of each part; none for a part without a token.
    pub fn means(&self) -> Vec<Option<f64>> {
        let parts = self.sums.iter().zip(self.counts);
        parts.map(|(sum, count)| (count > 0).then(|| sum / count as f64)).collect()
    }

    /// Was nothing added?
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

/// A per-token quantity along a response. A third is at least one token, so the thirds of very short responses overlap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Thirds {
    /// Mean over all tokens.
    pub mean: f64,
    /// Mean over the first third.
    pub early: f64,
    /// Mean over the last third.
    pub late: f64,
}

impl Thirds {
    /// Tokens of a third of a response of `tokens` tokens.
    pub fn third(tokens: usize) -> usize {
        (tokens / 3).max(1).min(tokens)
    }

    /// Of one value per token; none for no tokens.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let third = Self::third(values.len());
        (!values.is_empty()).then(|| Self {
            mean: mean(values),
            early: mean(&values[..third]),
            late: mean(&values[values.len() - third..]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_fall_into_parts_by_their_share_of_the_response() {
        let mut one = Along::default();
        one.add(&[1.0, 3.0]);
        let means = one.means();
        assert_eq!((means[4], means[12]), (Some(1.0), Some(3.0)));
        assert_eq!(means.iter().flatten().count(), 2);

        // Sums of means are those of the tokens: a long response counts by its tokens.
        let long: Vec<f64> = (0..100).map(f64::from).collect();
        let mut tokens = one.clone();
        tokens.add(&long);
        let mut of_long = Along::default();
        of_long.add(&long);
        let mut means = Along::default();
        means.add_means(&one.means(), 2);
        means.add_means(&of_long.means(), 100);
        for (a, b) in tokens.means().into_iter().zip(means.means()) {
            assert!((a.unwrap() - b.unwrap()).abs() < 1e-9);
        }
        assert!(Along::default().is_empty() && !means.is_empty());
    }

    #[test]
    fn evaluations_are_named_by_their_step() {
        let key = evaluation_key("run_1", 40);
        assert_eq!(key, "rows/run_1/step-00000040");
        assert_eq!(evaluated_step(&key), Some(40));
        assert_eq!(evaluated_step(&chunk_key("run_1", 40)), None);
    }
}
