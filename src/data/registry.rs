//! Data sets by name.

use std::sync::Arc;

use serde_json::{Value, json};

use super::digits::{self, DigitsTask};
use super::{DataError, Dataset};

/// A data set that ships with the program.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub description: &'static str,
    /// Rows to train on.
    pub train_rows: u64,
    /// Held-out rows.
    pub eval_rows: u64,
    /// Job settings that fit it: a partial job in the form of `POST /v1/jobs`.
    pub recommended: Value,
}

const NAMES: [&str; 2] = ["digits", "digits-6"];

/// All data sets that ship with the program.
pub fn built_in() -> Vec<BuiltIn> {
    NAMES.iter().map(|name| describe(name)).collect()
}

/// Opens a data set by name.
pub fn open(name: &str) -> Result<Arc<dyn Dataset>, DataError> {
    match name {
        "digits" => Ok(Arc::new(DigitsTask::two_by_two()?)),
        "digits-6" => Ok(Arc::new(DigitsTask::two_by_three()?)),
        _ => Err(DataError::Unknown { name: name.to_owned(), known: NAMES.join(", ") }),
    }
}

fn describe(name: &'static str) -> BuiltIn {
    // The longest worked response has 7 tokens a digit and 8 around them.
    let (description, tokens) = match name {
        "digits" => {
            ("Questions about four handwritten digits in 56 x 56 pixels; held-out rows show held-out handwriting.", 48)
        }
        _ => (
            "Questions about six handwritten digits in 84 x 56 pixels, harder; held-out rows show held-out handwriting.",
            64,
        ),
    };
    BuiltIn {
        name,
        description,
        train_rows: digits::TRAIN_ROWS,
        eval_rows: digits::EVAL_ROWS,
        recommended: json!({ "reward": { "type": "math" }, "rollout": { "max_new_tokens": tokens } }),
    }
}
