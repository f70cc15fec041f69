//! What others wrote, fit to be repeated: short, and without characters that a terminal obeys.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters of a value or a name that a message repeats.
pub const QUOTED: usize = 80;

/// The beginning of a text: at most `most` characters, and an ellipsis where more were there.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The beginning of a text that takes at most `most` bytes with the ellipsis.
fn cut_bytes(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let end = (0..=most.saturating_sub('…'.len_utf8())).rev().find(|end| text.is_char_boundary(*end));
    Cow::Owned(format!("{}…", &text[..end.unwrap_or_default()]))
}

/// A message whose quotations (in backticks or double quotes) have at most [`QUOTED`] characters each, of at most
/// `most` bytes. What follows a quotation, such as the limit and the way out, stays.
pub fn brief(message: &str, most: usize) -> String {
    if message.len() <= QUOTED {
        return message.to_owned();
    }
    let mut short = String::new();
    let mut rest = message;
    while let Some(open) = rest.find(['`', '"']) {
        let mark = if rest[open..].starts_with('`') { '`' } else { '"' };
        let inside = &rest[open + 1..];
        let Some(close) = inside.find(mark) else { break };
        short.push_str(&rest[..=open]);
        short.push_str(&cut(&inside[..close], QUOTED));
        short.push(mark);
        rest = &inside[close + 1..];
        if short.len() > most {
            rest = "";
        }
    }
    short.push_str(&cut_bytes(rest, most));
    cut_bytes(&short, most).into_owned()
}

/// Does a terminal obey this character, or does it turn the text around it? Line ends and tabs do neither.
fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && c != '\n' && c != '\t')
}

/// Is the character allowed in names: neither a control character nor one that changes the direction of text?
pub fn is_printable(c: char) -> bool {
    !is_obeyed(c) && !matches!(c, '\n' | '\t' | '\u{2028}' | '\u{2029}')
}

/// A text for a terminal: characters that it would obey are spelt out as JSON spells them, so that JSON stays the same
/// JSON.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            let _ = write!(plain, "\\u{:04x}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_are_cut_and_what_follows_stays() {
        let long = "a".repeat(1_000_000);
        let told = brief(&format!("unknown field `{long}`: did you mean `name`?"), 1000);
        assert_eq!(told, format!("unknown field `{}…`: did you mean `name`?", "a".repeat(QUOTED)));
        let told = brief(&format!("got \"{long}\", which is too long; the limit is 3"), 1000);
        assert!(told.ends_with("…\", which is too long; the limit is 3"), "{told}");
        assert!(brief(&long, 1000).len() <= 1000);
        assert!(brief(&format!("`{long}"), 1000).len() <= 1000);
        assert!(brief(&format!("`{}`", "ä`".repeat(100_000)), 1000).len() <= 1000);
        assert_eq!(brief("`short` stays", 1000), "`short` stays");
    }

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        assert_eq!(for_terminal("a\u{1b}]0;x\u{7}\u{202e}b\n\tc\u{9b}"), "a\\u001b]0;x\\u0007\\u202eb\n\tc\\u009b");
        assert_eq!(for_terminal("größer 漢字"), "größer 漢字");
        let spelt: serde_json::Value = serde_json::from_str(&for_terminal("\"a\u{202e}b\"")).unwrap();
        assert_eq!(spelt, "a\u{202e}b");
    }

    #[test]
    fn names_hold_what_can_be_printed() {
        assert!("größer 漢字 b-1".chars().all(is_printable));
        for c in ['\u{1b}', '\n', '\t', '\u{202e}', '\u{2067}', '\u{200f}', '\u{7f}', '\u{85}', '\u{2028}'] {
            assert!(!is_printable(c), "{c:?}");
        }
    }
}
