//! Worked responses: honest ones, and those of a demonstrator who forgets to look.
//!
//! A response reads and computes in turn, so it needs the picture to its end:
//! `<think> see 3 , total 3 ; see 5 , total 8 ; see 1 , total 9 ; see 7 , total 16 </think> \boxed{ 16 }`.
//! A question about one position is answered at once: `<think> see 7 </think> \boxed{ 7 }`.

use std::fmt::Write;

use super::question::{self, Kind};
use super::scene::Scene;
use crate::data::random::Rng;

/// How likely the forgetful demonstrator copies the digit it wrote before instead of looking: at the second digit, the
/// third, and every later one. Its running value follows what it wrote. The first digit and questions about one
/// position are clean.
///
/// A model taught by it sees well but forgets to look: temporal visual forgetting, made to measure.
pub const FORGETTING: [f64; 3] = [0.35, 0.6, 0.6];

/// What the forgetful demonstrator writes for each digit of a scene.
pub(super) fn forget(scene: &Scene, rng: &mut Rng) -> Vec<u8> {
    let mut written = scene.digits.clone();
    if matches!(scene.question.kind, Kind::At(_)) {
        return written;
    }
    for at in 1..written.len() {
        if rng.chance(FORGETTING[(at - 1).min(FORGETTING.len() - 1)]) {
            written[at] = written[at - 1];
        }
    }
    written
}

/// The response that reads these digits and computes with them.
pub(super) fn write(scene: &Scene, digits: &[u8]) -> String {
    let question = &scene.question;
    let answer = question.answer(digits);
    let mut text = String::from("<think>");
    if let Kind::At(_) = question.kind {
        let _ = write!(text, " see {answer}");
    } else {
        let name = running_name(question.kind);
        let mut value = None;
        for (at, digit) in digits.iter().enumerate() {
            let next = question.kind.next(value, *digit);
            let separator = if at == 0 { "" } else { " ;" };
            let _ = write!(text, "{separator} see {digit} , {name} {next}");
            value = Some(next);
        }
    }
    let _ = write!(text, " </think> \\boxed{{ {answer} }}");
    text
}

fn running_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Sum => "total",
        Kind::Largest => "largest",
        Kind::Smallest => "smallest",
        Kind::CountEven | Kind::At(_) => "even",
    }
}

/// Every word of the task, once, in a fixed order: the ten digits, then the words of responses, then those of
/// questions.
///
/// Texts of the task are these words with single spaces between them; a number of several digits stands for one word
/// per digit, written without spaces (`16` is `1` and `6`).
pub fn vocabulary() -> Vec<String> {
    let mut words: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let responses = ["<think> see , total largest smallest even ; </think> \\boxed{ }"];
    for word in responses.into_iter().chain(question::wordings()).flat_map(str::split_whitespace) {
        // The wordings about a position have a gap for its name.
        if word != "{}" && !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}
