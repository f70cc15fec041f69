//! The reward `choice`: does the answer choose the right option?

use super::{Reward, RewardInput, Verdict, answer_text, one_if, single};

/// 1 when the answer chooses the option that the ground truth names.
#[derive(Debug, Clone, Copy)]
pub struct Choice;

impl Reward for Choice {
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let truth = option(answer_text::truth(input.ground_truth));
        let chosen = option(answer_text::answer(input.response));
        single("choice", one_if(truth.is_some() && truth == chosen), chosen.map(String::from))
    }
}

/// The option that a text chooses: `B`, `(b)`, `B.`, `B) 5 cm`, `Answer: B`, `the answer is (B)`. In running text the
/// last letter in the place of an option; a text that names several without choosing one chooses none.
pub(super) fn option(text: &str) -> Option<char> {
    let text = text.trim().trim_end_matches(['.', '*', '$', '`']).trim_matches(['*', '$', '`', '"']);
    if let Some(letter) = leading(text) {
        return Some(letter);
    }
    let lower = text.to_lowercase();
    let announced = ["answer is", "answer:", "option is", "option", "choice is", "choice:", "choose", "select"];
    let at = announced.iter().filter_map(|words| lower.rfind(words).map(|at| at + words.len())).max()?;
    leading(text.get(at..)?.trim_start_matches([' ', ':', '*', '\n']))
}

/// A letter at the start that names an option: alone, in parentheses, or before `)`, `.` or `:`.
fn leading(text: &str) -> Option<char> {
    let (open, rest) = text.strip_prefix('(').map_or((false, text), |rest| (true, rest.trim_start()));
    let mut chars = rest.chars();
    let letter = chars.next().filter(char::is_ascii_alphabetic)?;
    let ends = match chars.next() {
        None | Some(')') => true,
        Some('.' | ':' | ',' | '*') => !open,
        Some(c) if c.is_whitespace() => !open && chars.as_str().trim().is_empty(),
        Some(_) => false,
    };
    ends.then(|| letter.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::option;

    #[test]
    fn options_are_found_where_they_stand() {
        for text in
            ["B", "b", "(B)", "(b)", "B.", "B) 5 cm", "B: five", "Answer: B", "The answer is (B).", "**B**", "option B"]
        {
            assert_eq!(option(text), Some('B'), "{text}");
        }
        for text in ["", "Bob", "A or B", "both", "5", "Banana is right", "(Bob)"] {
            assert_eq!(option(text), None, "{text}");
        }
    }
}
