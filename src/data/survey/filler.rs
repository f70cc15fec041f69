//! What is said between two looks: sentences of a stochastic grammar that say nothing about the picture.
//!
//! Every word is one of four. Which of them is the usual one depends on the word before; it comes with a probability
//! that gives the words the entropy that was asked for, the other three share the rest evenly.

use crate::data::random::Rng;

/// The words of a sentence by place.
pub(super) const SLOTS: [[&str; 4]; 8] = [
    ["now", "then", "next", "again"],
    ["we", "they", "you", "people"],
    ["move", "turn", "walk", "wander"],
    ["slowly", "gently", "calmly", "quietly"],
    ["along", "ahead", "onward", "further"],
    ["through", "across", "beyond", "past"],
    ["this", "another", "some", "every"],
    ["garden", "meadow", "valley", "harbour"],
];

/// A source of sentences of a given entropy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fillers {
    /// How likely a word is the usual one.
    usual: f64,
}

impl Fillers {
    /// Sentences of `bits` bits a word, 0 to 2.
    pub(super) fn new(bits: f64) -> Self {
        // The entropy falls from 2 bits to 0 as the usual word's probability rises from a quarter to 1.
        let (mut low, mut high) = (0.25, 1.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if entropy(middle) > bits { low = middle } else { high = middle }
        }
        Self { usual: if bits <= 0.0 { 1.0 } else { low } }
    }

    /// A sentence.
    pub(super) fn draw(self, rng: &mut Rng) -> String {
        let mut before = 0;
        let words = SLOTS.iter().enumerate().map(|(slot, words)| {
            let other = if rng.chance(self.usual) { 0 } else { 1 + rng.below(3) };
            before = (before + slot + other) % words.len();
            words[before]
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Bits of a word whose usual form has this probability.
fn entropy(usual: f64) -> f64 {
    let part = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    part(usual) + 3.0 * part((1.0 - usual) / 3.0)
}
