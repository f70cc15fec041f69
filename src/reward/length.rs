//! The reward `length`: a soft penalty on overlong responses (DAPO, arXiv 2503.14476, Eq. 13).

use super::{Reward, RewardError, RewardInput, Verdict, single};

/// 0 up to `limit - buffer` tokens, then linearly down to -1 at `limit`. Where tokens are not counted, words are.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    limit: u64,
    buffer: u64,
}

impl Length {
    /// # Errors
    /// A buffer that is 0 or larger than the limit.
    pub fn new(limit: u64, buffer: u64) -> Result<Self, RewardError> {
        if buffer == 0 || buffer > limit {
            let allowed = format!("from 1 to `limit` ({limit})");
            return Err(RewardError::Setting { field: "buffer", value: buffer.to_string(), allowed });
        }
        Ok(Self { limit, buffer })
    }
}

/// How far into the buffer before `limit` a response of `tokens` reaches: 0 below it, 1 at the limit and beyond.
pub fn overlong_share(tokens: u64, limit: u64, buffer: u64) -> f64 {
    let over = tokens.saturating_sub(limit.saturating_sub(buffer));
    (over as f64 / buffer.max(1) as f64).min(1.0)
}

impl Reward for Length {
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let tokens = input.tokens.unwrap_or_else(|| input.response.split_whitespace().count()) as u64;
        // 0 minus nothing is 0, not -0.
        let penalty = 0.0 - overlong_share(tokens, self.limit, self.buffer);
        Verdict { accuracy: None, ..single("length", penalty, None) }
    }

    fn judges_answers(&self) -> bool {
        false
    }
}
