//! What can go wrong in the reward room.

use crate::domain::reward_kind::MAX_NESTING;

/// A reward that cannot be built, or could not judge.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RewardError {
    /// A weighted reward without parts.
    #[error("reward.parts is empty; give at least one {{\"weight\", \"reward\"}}, or use {{\"type\": \"math\"}}")]
    NoParts,
    /// A weight that is not finite.
    #[error("reward.parts[{index}].weight is {weight}, but must be a finite number")]
    Weight {
        /// Index of the part.
        index: usize,
        /// Its weight.
        weight: f64,
    },
    /// Weighted rewards inside weighted rewards inside …
    #[error("weighted rewards are nested deeper than {MAX_NESTING}; write the parts into one list")]
    TooDeep,
    /// A reward that cannot be written as JSON.
    #[error("the reward cannot be read: {0}")]
    Unreadable(String),
    /// A setting outside its limits.
    #[error("reward.{field} is {value}, but must be {allowed}")]
    Setting {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A webhook where there is no client.
    #[error(
        "a webhook reward cannot be asked from here; submit the job to a server whose `webhook_hosts` allow its host"
    )]
    NoWebhooks,
    /// A webhook that refused, or answered nonsense.
    #[error("webhook: {0}")]
    Webhook(String),
    /// A webhook that did not answer in time, even after repeats.
    #[error("webhook: {0}")]
    WebhookUnreachable(String),
    /// Dynamic sampling by an accuracy that the reward does not decide.
    #[error(
        "`rollout.filter.metric` is accuracy, but the reward says nothing about right and wrong answers: set it to \
         \"reward\", or `rollout.filter` to null, or add a part that judges answers"
    )]
    NoAccuracy,
    /// A checkpoint's reward where none can be opened.
    #[error("the reward `image_text` cannot be computed here")]
    NoImageText,
    /// The checkpoint of `image_text`, or a pair that it cannot score.
    #[error("image_text: {0}")]
    ImageText(String),
}

impl RewardError {
    /// May another try end differently?
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::WebhookUnreachable(_))
    }
}
