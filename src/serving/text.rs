//! Incremental detokenization: whole characters only, stop strings matched across token boundaries.

use super::ServingError;
use crate::prompt::{Decoder, PromptError};

/// The text of one response.
///
/// Text that may be the beginning of a stop string is held back until the next tokens arrive.
pub struct ResponseText<'a> {
    decoder: Decoder<'a>,
    stops: Vec<String>,
    text: String,
    /// Length of the text after each token.
    ends: Vec<usize>,
    stopped: bool,
}

impl<'a> ResponseText<'a> {
    /// An empty text.
    pub fn new(decoder: Decoder<'a>, stops: Vec<String>) -> Self {
        Self { decoder, stops, text: String::new(), ends: Vec::new(), stopped: false }
    }

    /// Adds a token; true when a stop string is complete. The text then ends before it.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn push(&mut self, id: u32) -> Result<bool, ServingError> {
        let before = self.text.len();
        if let Some(new) = self.decoder.push(id).map_err(|e| tokenizer_fault(&e))? {
            self.text.push_str(&new);
        }
        self.ends.push(self.text.len());
        self.match_stop(before);
        Ok(self.stopped)
    }

    /// Ends the text: text that was held back is released.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn finish(&mut self) -> Result<(), ServingError> {
        if self.stopped {
            return Ok(());
        }
        if let Some(rest) = self.decoder.finish().map_err(|e| tokenizer_fault(&e))? {
            let before = self.text.len();
            self.text.push_str(&rest);
            if let Some(last) = self.ends.last_mut() {
                *last = self.text.len();
            }
            self.match_stop(before);
        }
        Ok(())
    }

    /// Looks for a stop string that ends in the text from `before` on, and cuts the text there.
    fn match_stop(&mut self, before: usize) {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let mut from = before.saturating_sub(longest);
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        let found = self.stops.iter().filter_map(|stop| self.text[from..].find(stop)).min();
        if let Some(at) = found {
            self.text.truncate(from + at);
            self.stopped = true;
        }
    }

    /// The text so far.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Number of pushed tokens that belong to the response: tokens that begin after a stop string do not.
    pub fn kept(&self) -> usize {
        if !self.stopped {
            return self.ends.len();
        }
        let starts = std::iter::once(0).chain(self.ends.iter().copied()).take(self.ends.len());
        starts.take_while(|start| *start < self.text.len()).count()
    }

    /// Where the text of a token ends.
    pub fn end_of(&self, token: usize) -> usize {
        self.ends[token].min(self.text.len())
    }

    /// Length of the text that later tokens cannot change.
    pub fn settled(&self) -> usize {
        if self.stopped {
            return self.text.len();
        }
        let held = self.stops.iter().map(|stop| overlap(&self.text, stop)).max().unwrap_or(0);
        self.text.len() - held
    }
}

/// Length of the longest suffix of `text` that is a prefix of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    (1..stop.len()).rev().find(|n| stop.is_char_boundary(*n) && text.ends_with(&stop[..*n])).unwrap_or(0)
}

fn tokenizer_fault(error: &PromptError) -> ServingError {
    ServingError::Engine(error.to_string())
}
