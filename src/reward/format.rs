//! The reward `format`: is the response well-formed?

use super::{Reward, RewardInput, Verdict, single};

/// 1 when the response reads `<think> … </think> … \boxed{…}` from its first character on (text may follow the box),
/// else 0.
#[derive(Debug, Clone, Copy)]
pub struct Format;

impl Reward for Format {
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        single("format", f64::from(u8::from(is_well_formed(input.response))), None)
    }
}

/// White space around `<`, `/` and `>` does not count, so that `< think >` is still a tag.
fn is_well_formed(response: &str) -> bool {
    let text = tighten(response);
    let Some(thought) = text.strip_prefix("<think>") else { return false };
    let Some((_, answer)) = thought.split_once("</think>") else { return false };
    let Some((_, boxed)) = answer.split_once("\\boxed{") else { return false };
    boxed.contains('}')
}

fn tighten(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_mark = false;
    for c in text.chars() {
        if c.is_whitespace() && after_mark {
            continue;
        }
        after_mark = matches!(c, '<' | '>' | '/');
        if after_mark {
            out.truncate(out.trim_end().len());
        }
        out.push(c);
    }
    out
}
