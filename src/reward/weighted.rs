//! The reward `weighted`: a weighted sum of rewards.

use super::{Reward, RewardBatch, RewardError, RewardInput, Verdict};

/// Name of the part that decides what counts as a right answer.
const ANSWER_PART: &str = "math";

/// A weighted sum of rewards.
pub struct Weighted(Vec<(f64, Box<dyn Reward>)>);

impl Weighted {
    /// The sum of `weight * reward` over these parts.
    pub fn new(parts: Vec<(f64, Box<dyn Reward>)>) -> Self {
        Self(parts)
    }

    /// Sums one response's verdicts. Accuracy is that of the part which judges the answer; without one, every part that
    /// judges answers must succeed.
    fn sum(&self, verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        let mut sum = Verdict::default();
        for ((weight, _), verdict) in self.0.iter().zip(verdicts) {
            sum.reward += weight * verdict.reward;
            sum.terms.push((*weight, verdict.reward));
            sum.accuracy = match (sum.accuracy, verdict.accuracy) {
                (Some(so_far), Some(accuracy)) => Some(so_far.min(accuracy)),
                (one, other) => one.or(other),
            };
            sum.parts.extend(verdict.parts);
            sum.extracted = sum.extracted.or(verdict.extracted);
        }
        if let Some(answer) = sum.parts.get(ANSWER_PART) {
            sum.accuracy = Some(*answer);
        }
        sum
    }
}

impl Reward for Weighted {
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        self.sum(self.0.iter().map(|(_, reward)| reward.judge(input)))
    }

    /// A response that one part cannot judge has no verdict.
    fn judge_all(&self, batch: &RewardBatch<'_>) -> Result<Vec<Option<Verdict>>, RewardError> {
        let parts: Vec<_> = self.0.iter().map(|(_, reward)| reward.judge_all(batch)).collect::<Result<_, _>>()?;
        let one = |index: usize| -> Option<Verdict> {
            let verdicts: Option<Vec<Verdict>> = parts.iter().map(|part| part.get(index).cloned().flatten()).collect();
            Some(self.sum(verdicts?))
        };
        Ok((0..batch.inputs.len()).map(one).collect())
    }

    fn judges_answers(&self) -> bool {
        self.0.iter().any(|(_, reward)| reward.judges_answers())
    }

    fn needs_images(&self) -> bool {
        self.0.iter().any(|(_, reward)| reward.needs_images())
    }
}
