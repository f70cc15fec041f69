//! How long the prompts of a data set are for a model, and which rows it cannot read.

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::data::Example;
use crate::data::files::SpreadCounter;
use crate::domain::dataset::{RowCount, RowFault, TokenReport};
use crate::model;
use crate::prompt::{Processor, PromptError, PromptLimits, messages_for};

/// Longer prompts are remembered: where many rows have the same one, it is read once.
const LONG: usize = 4096;
/// Prompts that are remembered.
const REMEMBERED: usize = 256;

/// Counts the tokens of rows.
pub(super) struct TokenCounter {
    processor: Processor,
    model: String,
    context: usize,
    rows: u64,
    prompts: SpreadCounter,
    demonstrated: SpreadCounter,
    refused: RowCount,
    known: HashMap<[u8; 32], usize>,
}

impl TokenCounter {
    /// A counter by the model in `dir`; none where it cannot be read.
    pub(super) fn open(dir: &Path, model: String) -> Option<Self> {
        let info = model::describe(dir).ok()?;
        let processor = Processor::from_dir(dir, &info).ok()?;
        Some(Self {
            processor,
            model,
            context: info.max_positions,
            rows: 0,
            prompts: SpreadCounter::default(),
            demonstrated: SpreadCounter::default(),
            refused: RowCount::default(),
            known: HashMap::new(),
        })
    }

    /// Counts a row. A row that does not fit this model may fit another one, so it is not an error.
    pub(super) fn add(&mut self, example: &Example) {
        match self.tokens(example) {
            Ok(tokens) => {
                self.rows += 1;
                self.prompts.add(tokens as u64);
                let Some(text) = &example.demonstration else { return };
                if let Ok(response) = self.processor.encode_response(text) {
                    // One more token ends the response.
                    self.demonstrated.add((tokens + response.len() + 1) as u64);
                }
            }
            Err(error) => self.refused.add(|| {
                let source = example.source.as_ref();
                RowFault {
                    file: source.map(|source| source.file.clone()).unwrap_or_default(),
                    row: source.map(|source| source.row),
                    problem: error.to_string(),
                }
            }),
        }
    }

    fn tokens(&mut self, example: &Example) -> Result<usize, PromptError> {
        let key = (example.prompt.len() > LONG).then(|| key(example));
        if let Some(tokens) = key.as_ref().and_then(|key| self.known.get(key)) {
            return Ok(*tokens);
        }
        let limits = PromptLimits { min_pixels: None, max_pixels: None, max_prompt_tokens: usize::MAX };
        let messages = messages_for(&example.prompt, example.images.len(), example.system.as_deref())?;
        let tokens = self.processor.count_tokens(&messages, &example.images, &limits)?;
        if let Some(key) = key.filter(|_| self.known.len() < REMEMBERED) {
            self.known.insert(key, tokens);
        }
        Ok(tokens)
    }

    /// What was counted; none without any row.
    pub(super) fn report(&self) -> Option<TokenReport> {
        Some(TokenReport {
            model: self.model.clone(),
            rows: self.rows,
            tokens: self.prompts.spread()?,
            with_demonstration: self.demonstrated.spread(),
            context: self.context as u64,
            refused: self.refused.clone(),
        })
    }
}

/// Everything that a prompt's length depends on.
fn key(example: &Example) -> [u8; 32] {
    let sizes: Vec<(u32, u32)> = example.images.iter().map(|image| image.dimensions()).collect();
    let mut hash = Sha256::new();
    hash.update(format!("{sizes:?}{:?}\0", example.system));
    hash.update(&example.prompt);
    hash.finalize().into()
}
