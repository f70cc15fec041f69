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

/// A held-out row with the model's responses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalRow {
    /// Row of the data set.
    pub row: u64,
    /// The row's labels.
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
