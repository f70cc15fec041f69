//! Finding the boxed answer.

const BOX: &str = "\\boxed{";

/// The content of the LAST `\boxed{…}`, braces matched (`\{` and `\}` do not count). None without a box, and when the
/// last box is never closed: an answer that was cut off is not an answer.
pub(super) fn last_boxed(text: &str) -> Option<&str> {
    let content = &text[text.rfind(BOX)? + BOX.len()..];
    let mut depth = 1_usize;
    let mut escaped = false;
    for (i, c) in content.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&content[..i]);
        }
    }
    None
}
