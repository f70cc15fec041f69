//! The answer inside a response, for rewards that do not insist on a box.

use super::boxed::last_boxed;

/// The content of the last `\boxed{…}`, else of `<answer>…</answer>`, else the text after `</think>`, else everything.
pub(super) fn answer(response: &str) -> &str {
    if let Some(boxed) = last_boxed(response) {
        return boxed.trim();
    }
    if let Some((_, rest)) = response.rsplit_once("<answer>") {
        return rest.split_once("</answer>").map_or(rest, |(inside, _)| inside).trim();
    }
    response.rsplit_once("</think>").map_or(response, |(_, rest)| rest).trim()
}

/// A ground truth, without its box if it has one.
pub(super) fn truth(text: &str) -> &str {
    last_boxed(text).unwrap_or(text).trim()
}
