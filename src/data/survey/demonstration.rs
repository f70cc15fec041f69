//! Worked responses: they look, compute and talk in turn.
//!
//! `<think> now we turn … row 1 column 1 see 7 , total 7 ; then they … row 1 column 2 see 5 , total 2 ; …
//! </think> \boxed{ 2 }`

use std::fmt::Write;

use super::filler::{Fillers, SLOTS};
use super::question::{self, Question};
use super::settings::SurveySettings;
use crate::data::random::Rng;

/// Of the looks that are forgotten, the share in which the demonstrator guesses; in the others it copies the digit that
/// it wrote before.
pub const GUESSED: f64 = 0.25;

/// What a demonstrator writes for each digit: from the middle on it may copy or guess.
pub(super) fn forget(digits: &[u8], settings: &SurveySettings, rng: &mut Rng) -> Vec<u8> {
    let mut written = digits.to_vec();
    for at in 1..written.len() {
        if rng.chance(settings.forgetting_at(at)) {
            written[at] = if rng.chance(GUESSED) { rng.below(10) as u8 } else { written[at - 1] };
        }
    }
    written
}

/// The response that reads these digits and computes with them.
pub(super) fn write(question: &Question, digits: &[u8], settings: &SurveySettings, rng: &mut Rng) -> String {
    let (columns, fillers) = (settings.grid()[1], Fillers::new(settings.filler));
    let (kind, mut value) = (question.kind, 0);
    let mut text = String::from("<think>");
    for (at, digit) in digits.iter().enumerate() {
        value = kind.next(value, *digit);
        let (row, column) = (at / columns + 1, at % columns + 1);
        let (filler, name) = (fillers.draw(rng), kind.value_name());
        let _ = write!(text, " {filler} row {row} column {column} see {digit} , {name} {value} ;");
    }
    let _ = write!(text, " </think> \\boxed{{ {value} }}");
    text
}

/// Every word of the task, once: the ten digits, then the words of responses, then those of questions.
///
/// Texts of the task are these words with single spaces between them; a number of several digits stands for one word a
/// digit, written without spaces.
pub fn vocabulary() -> Vec<String> {
    let mut words: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let fixed = "<think> row column see , total even large ; </think> \\boxed{ }".split(' ');
    let questions = question::wordings().flat_map(|wording| wording.split(' '));
    for word in fixed.chain(SLOTS.into_iter().flatten()).chain(questions) {
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}
