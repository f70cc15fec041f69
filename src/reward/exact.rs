//! The reward `exact`: is the answer the ground truth, letter by letter?

use super::{Reward, RewardInput, Verdict, answer_text, one_if, single};

/// 1 when the answer is the ground truth; runs of white space count as one blank.
#[derive(Debug, Clone, Copy)]
pub struct Exact {
    case_sensitive: bool,
}

impl Exact {
    /// Whether capital letters count.
    pub fn new(case_sensitive: bool) -> Self {
        Self { case_sensitive }
    }

    fn plain(self, text: &str) -> String {
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if self.case_sensitive { joined } else { joined.to_lowercase() }
    }
}

impl Reward for Exact {
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let answer = answer_text::answer(input.response);
        let right = self.plain(answer) == self.plain(answer_text::truth(input.ground_truth));
        single("exact", one_if(right), Some(answer.to_owned()))
    }
}
