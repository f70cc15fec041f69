//! The reward `math`: is the boxed answer equal to the ground truth?
//!
//! The grader is our own: it reads numbers, fractions, percent, simple LaTeX, units, tuples, intervals, sets, matrices,
//! ratios, equations, inequalities and text options, and compares expressions by exact arithmetic where possible and by
//! value otherwise (with variables: at several fixed points). It evaluates nothing but its own small syntax tree; texts
//! beyond a length or depth are compared as text.

mod answer;
mod expression;
mod normalize;
mod options;
mod parser;
mod scalar;
mod symbols;
mod units;
mod value;

use super::boxed::last_boxed;
use super::{Reward, RewardInput, Verdict, single};
use answer::Answer;

/// Longer answers are compared as text only.
const MAX_LENGTH: usize = 1000;

/// 1 when the response's last `\boxed{…}` equals the ground truth, else 0.
#[derive(Debug, Clone, Copy)]
pub struct Math;

impl Reward for Math {
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let Some(extracted) = last_boxed(input.response) else {
            return single("math", 0.0, None);
        };
        let right = equivalent(input.ground_truth, extracted);
        single("math", f64::from(u8::from(right)), Some(extracted.to_owned()))
    }
}

/// The number in a text, without units and percent sign (`50%` is 0.5).
pub(super) fn number(text: &str) -> Option<f64> {
    let text = normalize::normalize(text.trim());
    (text.len() <= MAX_LENGTH).then(|| scalar::Scalar::parse(&text).number()).flatten()
}

/// How many bytes are looked at to read an answer, those of every part and every attempt counted: a measure of work
/// that does not depend on the machine.
pub fn reading_work(text: &str) -> usize {
    let text = normalize::normalize(text.trim());
    if text.len() <= MAX_LENGTH { Answer::parse_counted(&text).1 } else { text.len() }
}

/// Does `answer` say the same as `truth`? A truth may be written inside `\boxed{…}`.
pub fn equivalent(truth: &str, answer: &str) -> bool {
    let (raw_truth, raw_answer) = (last_boxed(truth).unwrap_or(truth).trim(), answer.trim());
    let (truth, answer) = (normalize::normalize(raw_truth), normalize::normalize(raw_answer));
    if truth.is_empty() || answer.is_empty() {
        return raw_truth == raw_answer;
    }
    if let Some(letter) = options::letter_of_truth(&truth)
        && let Some(chosen) = options::letter_of_answer(&answer)
    {
        return letter == chosen;
    }
    if truth.len() > MAX_LENGTH || answer.len() > MAX_LENGTH {
        return normalize::same_text(&truth, &answer);
    }
    Answer::parse(&truth).equals(&Answer::parse(&answer))
}
