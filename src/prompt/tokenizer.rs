//! Text to token ids and back, from a checkpoint's `tokenizer.json`.

use std::collections::HashSet;
use std::path::Path;

use tokenizers::Tokenizer;

use super::PromptError;
use super::files;

/// A special token and how it treats adjacent white space.
#[derive(Debug, Clone)]
struct Special {
    content: String,
    id: u32,
    /// Strips white space on its left.
    lstrip: bool,
    /// Strips white space on its right.
    rstrip: bool,
}

/// A piece of text after splitting at special tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A special token.
    Special(u32),
    /// Text without special tokens.
    Text(&'a str),
}

/// A checkpoint's tokenizer.
///
/// The inner tokenizer treats special tokens as plain text; they are recognised only where this type splits them off
/// first. That keeps user text apart from what the chat template wrote.
#[derive(Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
    specials: Vec<Special>,
    special_texts: Vec<String>,
    byte_level: bool,
    unknown: Option<u32>,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` from a model's folder.
    pub fn from_dir(dir: &Path) -> Result<Self, PromptError> {
        let path = dir.join("tokenizer.json");
        let text = files::read(&path)?;
        Self::from_json(&text).map_err(|problem| files::config_error(&path, problem))
    }

    fn from_json(text: &str) -> Result<Self, String> {
        let json: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("is not valid JSON: {e}"))?;
        let mut inner = Tokenizer::from_bytes(text.as_bytes()).map_err(|e| format!("is not a tokenizer: {e}"))?;
        // A stored truncation would silently cut prompts, a stored padding would add tokens.
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        inner.set_encode_special_tokens(true);
        let mut specials: Vec<Special> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, t)| Special { content: t.content, id, lstrip: t.lstrip, rstrip: t.rstrip })
            .collect();
        // Longest first: of several tokens that start at the same place, the longest one is used, as in the reference.
        specials.sort_by(|a, b| b.content.len().cmp(&a.content.len()).then(a.id.cmp(&b.id)));
        let byte_level = json.pointer("/decoder/type").and_then(|t| t.as_str()) == Some("ByteLevel");
        let unknown = json.pointer("/model/unk_token").and_then(|t| t.as_str()).and_then(|t| inner.token_to_id(t));
        let special_texts = specials.iter().map(|s| s.content.clone()).collect();
        Ok(Self { inner, specials, special_texts, byte_level, unknown })
    }

    /// Texts of all special tokens.
    pub(super) fn special_texts(&self) -> &[String] {
        &self.special_texts
    }

    /// The id of a token by its text, e.g. `<|im_end|>`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Splits a text at its special tokens, leftmost and longest first.
    pub(super) fn split<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        let mut pieces = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let Some(special) = self.specials.iter().find(|s| rest.starts_with(&s.content)) else {
                at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            };
            let mut before = &text[start..at];
            if special.lstrip {
                before = before.trim_end();
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before));
            }
            pieces.push(Piece::Special(special.id));
            at += special.content.len();
            if special.rstrip {
                at += text[at..].len() - text[at..].trim_start().len();
            }
            start = at;
        }
        if start < text.len() {
            pieces.push(Piece::Text(&text[start..]));
        }
        pieces
    }

    /// Ids of a text in which special tokens are plain text.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| PromptError::Tokenizer(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of a text in which special tokens are recognised, e.g. a response that ends in `<|im_end|>`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        let mut ids = Vec::new();
        for piece in self.split(text) {
            match piece {
                Piece::Special(id) => ids.push(id),
                Piece::Text(text) => ids.extend(self.encode_plain(text)?),
            }
        }
        Ok(ids)
    }

    /// The text of ids; unknown ids are skipped.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, PromptError> {
        self.inner.decode(ids, skip_special).map_err(|e| PromptError::Tokenizer(e.to_string()))
    }

    /// The bytes of one id, which may be part of a character; empty for an unknown id.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let Some(token) = self.inner.id_to_token(id) else { return Vec::new() };
        if !self.byte_level {
            return token.into_bytes();
        }
        let bytes: Option<Vec<u8>> = token.chars().map(byte_of_char).collect();
        bytes.unwrap_or_else(|| token.into_bytes())
    }

    /// True for special tokens (`<|im_end|>`), which [`TextTokenizer::decode`] can leave out.
    pub fn is_special(&self, id: u32) -> bool {
        self.specials.iter().any(|s| s.id == id)
    }

    /// Whether ids decode byte by byte, independently of each other.
    pub(super) fn is_byte_level(&self) -> bool {
        self.byte_level
    }

    /// The words of a text that the vocabulary does not have, in order, each once; always empty for byte-level
    /// vocabularies.
    pub fn out_of_vocabulary(&self, text: &str) -> Vec<String> {
        let Some(unknown) = self.unknown else { return Vec::new() };
        let mut seen = HashSet::new();
        let mut words = Vec::new();
        let mut from = 0;
        for word in text.split_whitespace() {
            let start = from + text[from..].find(word).unwrap_or_default();
            from = start + word.len();
            // In many vocabularies a word includes the space before it.
            let spaced = if text[..start].ends_with(' ') { start - 1 } else { start };
            let is_unknown = self.encode_plain(&text[spaced..from]).is_ok_and(|ids| ids.contains(&unknown));
            if is_unknown && seen.insert(word) {
                words.push(word.to_owned());
            }
        }
        words
    }
}

/// The byte of a character of a byte-level vocabulary (GPT-2's table): printable Latin-1 characters represent
/// themselves, the other bytes are U+0100 onwards in ascending order.
fn byte_of_char(c: char) -> Option<u8> {
    let code = u32::from(c);
    let printable = |b: u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    if code < 0x100 {
        return printable(code).then_some(code as u8);
    }
    let rank = usize::try_from(code - 0x100).ok()?;
    (0..=255u8).filter(|b| !printable(u32::from(*b))).nth(rank)
}
