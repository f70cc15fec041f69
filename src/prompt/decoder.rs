//! Ids to text, one id at a time, never splitting a character.

use super::PromptError;
use super::tokenizer::TextTokenizer;

/// Turns a stream of ids into a stream of text whose concatenation equals decoding all ids at once.
///
/// Byte-level vocabularies are decoded byte by byte: text is released as soon as its last character is complete, and
/// bytes that can never become a character are released as U+FFFD. Other vocabularies are decoded over a short window
/// of ids, because there a token's text may depend on the one before it.
#[derive(Debug)]
pub struct Decoder<'a> {
    tokenizer: &'a TextTokenizer,
    skip_special: bool,
    /// Byte-level: bytes of an unfinished character.
    pending: Vec<u8>,
    /// Otherwise: the ids of the window.
    window: Vec<u32>,
    /// Released bytes of the window's text.
    sent: usize,
}

impl TextTokenizer {
    /// A decoder for one stream of ids.
    pub fn decoder(&self, skip_special: bool) -> Decoder<'_> {
        Decoder::new(self, skip_special)
    }
}

impl<'a> Decoder<'a> {
    fn new(tokenizer: &'a TextTokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, pending: Vec::new(), window: Vec::new(), sent: 0 }
    }

    /// Adds one id; returns the text that is complete now, if any.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, PromptError> {
        if self.skip_special && self.tokenizer.is_special(id) {
            return Ok(None);
        }
        if self.tokenizer.is_byte_level() {
            self.pending.extend(self.tokenizer.token_bytes(id));
            let text = take_complete(&mut self.pending);
            return Ok(Some(text).filter(|t| !t.is_empty()));
        }
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window, self.skip_special)?;
        // A decoder that rewrites earlier text (clean-up of spaces) has nothing new until its text grows again.
        let Some(new) = text.get(self.sent..).filter(|t| !t.is_empty() && !t.ends_with('\u{FFFD}')) else {
            return Ok(None);
        };
        let new = new.to_owned();
        self.sent = text.len();
        self.shorten_window()?;
        Ok(Some(new))
    }

    /// The text that is still held back, e.g. the replacement of an incomplete character.
    pub fn finish(&mut self) -> Result<Option<String>, PromptError> {
        let text = if self.tokenizer.is_byte_level() {
            let rest = std::mem::take(&mut self.pending);
            String::from_utf8_lossy(&rest).into_owned()
        } else {
            let ids = std::mem::take(&mut self.window);
            let text = self.tokenizer.decode(&ids, self.skip_special)?;
            text.get(std::mem::take(&mut self.sent)..).unwrap_or_default().to_owned()
        };
        Ok(Some(text).filter(|t| !t.is_empty()))
    }

    /// Keeps the newest id as context only, so that the cost of a token does not grow with the text.
    fn shorten_window(&mut self) -> Result<(), PromptError> {
        if self.window.len() > 8 {
            self.window.drain(..self.window.len() - 1);
            self.sent = self.tokenizer.decode(&self.window, self.skip_special)?.len();
        }
        Ok(())
    }
}

/// Removes the longest decodable prefix from `bytes`: invalid bytes become U+FFFD, an incomplete character stays.
fn take_complete(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut used = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        used += chunk.valid().len();
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        let unfinished =
            used + invalid.len() == bytes.len() && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
        if unfinished {
            break;
        }
        text.push('\u{FFFD}');
        used += invalid.len();
    }
    bytes.drain(..used);
    text
}
