//! Keeps special tokens in user text apart from those that the chat template writes.
//!
//! Before a template runs, the first character of every special token inside a message's text is exchanged for a
//! private-use character that occurs nowhere else. The rendered text then contains special tokens only where the
//! template itself wrote them. The exchange is undone after the text has been split at those. The rest of the text is
//! not changed, so templates may still trim, compare and measure it as the reference does.

use super::PromptError;

/// An exchange of characters, made for one rendering.
#[derive(Debug)]
pub(super) struct Masking<'a> {
    specials: &'a [String],
    /// First character of special tokens, and its replacement.
    pairs: Vec<(char, char)>,
}

impl<'a> Masking<'a> {
    /// Chooses replacements that occur neither in the template's source nor in any text.
    pub(super) fn new<'t>(
        specials: &'a [String],
        texts: impl Iterator<Item = &'t str> + Clone,
    ) -> Result<Self, PromptError> {
        let mut firsts: Vec<char> = specials.iter().filter_map(|s| s.chars().next()).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let taken: std::collections::BTreeSet<char> = texts.flat_map(str::chars).filter(|c| is_private(*c)).collect();
        let mut free = ('\u{F0000}'..='\u{FFFFD}').chain('\u{100000}'..='\u{10FFFD}').filter(|c| !taken.contains(c));
        let pairs: Vec<_> = firsts.iter().copied().zip(&mut free).collect();
        if pairs.len() < firsts.len() {
            return Err(PromptError::Tokenizer("the text uses every private-use character of Unicode".into()));
        }
        Ok(Self { specials, pairs })
    }

    /// A text with no special token left in it, nor the beginning of one at its end, where the next text would complete
    /// it.
    pub(super) fn mask(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for (at, c) in text.char_indices() {
            let rest = &text[at..];
            let starts = || self.specials.iter().any(|s| rest.starts_with(s.as_str()) || s.starts_with(rest));
            match self.pairs.iter().find(|(first, _)| *first == c) {
                Some((_, stand_in)) if starts() => out.push(*stand_in),
                _ => out.push(c),
            }
        }
        out
    }

    /// Undoes [`Masking::mask`].
    pub(super) fn unmask(&self, text: &str) -> String {
        let original = |c| self.pairs.iter().find(|(_, stand_in)| *stand_in == c).map_or(c, |(first, _)| *first);
        text.chars().map(original).collect()
    }
}

fn is_private(c: char) -> bool {
    matches!(c, '\u{F0000}'..='\u{FFFFD}' | '\u{100000}'..='\u{10FFFD}')
}
