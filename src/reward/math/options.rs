//! Options of a multiple-choice question.

/// The option that a truth names: a capital letter A-J, alone or in parentheses (there also small).
pub(super) fn letter_of_truth(truth: &str) -> Option<char> {
    let inner = truth.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    let letter = only_char(inner.unwrap_or(truth).trim())?;
    match (letter, inner) {
        ('A'..='J', _) => Some(letter),
        ('a'..='j', Some(_)) => Some(letter.to_ascii_uppercase()),
        _ => None,
    }
}

/// The option that an answer chooses: `A`, `a`, `(A)`, `A.`, `A) 5`, `(A) 5`, `A: 5`, `Option A`.
pub(super) fn letter_of_answer(answer: &str) -> Option<char> {
    let lower = answer.to_lowercase();
    let text = ["option", "choice", "answer"].iter().find_map(|word| lower.strip_prefix(word)).unwrap_or(&lower);
    let text = text.trim_start_matches([' ', ':']);
    let (parenthesised, text) = text.strip_prefix('(').map_or((false, text), |rest| (true, rest.trim_start()));
    let mut chars = text.chars();
    let letter = chars.next().filter(|c| ('a'..='j').contains(c))?;
    let rest = chars.as_str().trim_start();
    let ends = match rest.chars().next() {
        Some(')') => true,
        None | Some('.' | ':') => !parenthesised,
        Some(_) => false,
    };
    ends.then(|| letter.to_ascii_uppercase())
}

fn only_char(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}
