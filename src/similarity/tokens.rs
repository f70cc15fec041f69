//! Tokenizes texts like the checkpoint's processor in `transformers`.

use std::path::Path;

use serde_json::Value;
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use super::config::Config;
use super::error::SimilarityError;
use super::folder;

/// Characters of a text that are used; the longest text context has some hundred tokens.
const MOST_CHARACTERS: usize = 32_768;

/// A checkpoint's tokenizer.
pub(super) struct Tokens {
    inner: Tokenizer,
    /// The padding token.
    filler: u32,
    /// Are texts padded to the context, or to the longest of them?
    whole_context: bool,
    context: usize,
    lower_case: bool,
}

impl Tokens {
    /// Reads `tokenizer.json` and `tokenizer_config.json`.
    pub(super) fn read(dir: &Path, config: &Config) -> Result<Self, SimilarityError> {
        let path = dir.join("tokenizer.json");
        let text = folder::text(&path)?;
        let mut inner = Tokenizer::from_bytes(text.as_bytes())
            .map_err(|error| SimilarityError::content(&path, format!("is not a tokenizer: {error}")))?;
        let settings_path = dir.join("tokenizer_config.json");
        let settings = folder::json_optional(&settings_path)?.unwrap_or_default();
        let stored_filler = inner.get_padding().map(|padding| padding.pad_id);
        inner.with_padding(None);
        // A response is text, even if it contains the text of a special token.
        inner.set_encode_special_tokens(true);
        let longest = settings.get("model_max_length").and_then(Value::as_f64).filter(|most| *most >= 1.0);
        let context = longest.map_or(config.context, |most| config.context.min(most as usize));
        let cut = TruncationParams {
            max_length: context,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        let refused = |problem: String| SimilarityError::content(&path, problem);
        inner.with_truncation(Some(cut)).map_err(|error| refused(error.to_string()))?;
        let largest = inner.get_vocab(true).into_values().max().unwrap_or_default();
        if largest as usize >= config.vocabulary {
            let problem = format!("has token {largest}, but config.json gives the model {} tokens", config.vocabulary);
            return Err(refused(problem));
        }
        let (filler, whole_context) = if let Some(end) = config.end {
            (clip_filler(&inner, end, largest).map_err(refused)?, false)
        } else {
            let named = settings.get("pad_token").map(|token| token.get("content").unwrap_or(token));
            let named = named.and_then(Value::as_str).and_then(|token| inner.token_to_id(token));
            let filler = named.or(stored_filler).ok_or_else(|| {
                let problem = "has no `pad_token`, which SigLIP needs to pad texts to its context";
                SimilarityError::content(&settings_path, problem)
            })?;
            (filler, true)
        };
        let lower_case = settings.get("tokenizer_class").and_then(Value::as_str).is_some_and(lowers);
        Ok(Self { inner, filler, whole_context, context, lower_case })
    }

    /// The ids of a text, including the end token; text beyond the context is truncated.
    pub(super) fn ids(&self, text: &str) -> Result<Vec<u32>, SimilarityError> {
        let end = text.char_indices().nth(MOST_CHARACTERS).map_or(text.len(), |(at, _)| at);
        let text = &text[..end];
        let encoded = if self.lower_case {
            // Character by character, as the library does it.
            self.inner.encode_fast(text.chars().flat_map(char::to_lowercase).collect::<String>(), true)
        } else {
            self.inner.encode_fast(text, true)
        };
        let encoded = encoded.map_err(|error| SimilarityError::Input(format!("a text has no tokens: {error}")))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// Pads rows to the same length.
    pub(super) fn even(&self, rows: &[Vec<u32>]) -> Vec<Vec<u32>> {
        let longest = rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = if self.whole_context { self.context } else { longest };
        let fill = |row: &Vec<u32>| {
            let mut row = row.clone();
            row.resize(width, self.filler);
            row
        };
        rows.iter().map(fill).collect()
    }
}

/// A CLIP text's vector is taken at its highest id. That is its end token if the tokenizer has no higher one; the
/// padding after it has a lower id, and the causal mask hides it from all earlier positions.
fn clip_filler(inner: &Tokenizer, end: u32, largest: u32) -> Result<u32, String> {
    /// The end token in older configurations, whatever it really is.
    const OLD_END: u32 = 2;
    let empty = inner.encode_fast("", true).map_err(|error| error.to_string())?;
    let Some(last) = empty.get_ids().last().copied() else {
        return Err("does not add an end token to texts".to_owned());
    };
    if last != largest || last == 0 {
        return Err(format!("ends a text with token {last}, but only its highest token, {largest}, can be the end"));
    }
    if end != last && end != OLD_END {
        return Err(format!("ends a text with token {last}, but `eos_token_id` of text_config is {end}"));
    }
    Ok(0)
}

/// Tokenizers of `transformers` that convert a text to lower case before `tokenizer.json` is applied.
fn lowers(class: &str) -> bool {
    class.starts_with("Siglip2Tokenizer")
}
