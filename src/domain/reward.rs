//! How responses are rewarded.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a response is rewarded. "The answer" is the content of the last `\boxed{…}`, else of `<answer>…</answer>`, else
/// the text after `</think>`, else the whole response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardSpec {
    /// 1 if the boxed answer is mathematically equal to the ground truth.
    Math,
    /// 1 if the response has the form `<think> … </think> … \boxed{…}`.
    Format,
    /// 1 if the answer equals the ground truth, ignoring white space.
    Exact {
        /// Match case? (default: no)
        #[serde(default, skip_serializing_if = "Option::is_none")]
        case_sensitive: Option<bool>,
    },
    /// 1 if the answer chooses the option (A-Z) that the ground truth names.
    Choice,
    /// 1 if the answer is a number close to the ground truth; units and percent signs are understood.
    Numeric {
        /// Maximum absolute difference (default 0).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        absolute: Option<f64>,
        /// Maximum relative difference (default 0.01 if neither is given).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relative: Option<f64>,
    },
    /// 1 if the pattern is found in the response.
    Regex {
        /// A regular expression (crate `regex`: no backtracking, no look-around).
        pattern: String,
    },
    /// How well the boxes of the answer (`[x1, y1, x2, y2]`, two corners, objects with named sides) match those of the
    /// ground truth: mean intersection over union of the best one-to-one pairs, over the larger number of boxes.
    Iou {
        /// The coordinates of the answer's boxes (pixel).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Coordinates>,
        /// The coordinates of the ground truth's boxes (pixel).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        truth: Option<Coordinates>,
        /// If given, the reward is 1 from this value on, else 0; otherwise it is the value itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        threshold: Option<f64>,
    },
    /// 0 up to `limit - buffer` tokens, then linearly down to -1 at `limit`. It does not judge answers and never counts
    /// for accuracy.
    Length {
        /// Length at which the penalty reaches its maximum.
        limit: u64,
        /// Number of tokens over which the penalty grows.
        buffer: u64,
    },
    /// The score of your own server.
    Webhook {
        /// URL of the webhook; its host must be in the setting `webhook_hosts`.
        url: String,
        /// Timeout in seconds (default 30).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_seconds: Option<f64>,
        /// Retries after a transient failure (default 3).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retries: Option<u32>,
    },
    /// Similarity of the row's image and the response, by a CLIP or SigLIP checkpoint. It does not judge answers and
    /// never counts for accuracy. Rows without an image have no verdict.
    ImageText {
        /// The checkpoint's folder on the server's machine, below one of the folders that the setting `model_roots`
        /// lists.
        model: String,
        /// The measure (cosine).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        score: Option<ImageTextScore>,
        /// Which text is compared (response).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<ImageTextPart>,
        /// The score that is mapped to 0; requires `high`. Without both, the reward is the score itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        low: Option<f64>,
        /// The score that is mapped to 1; requires `low`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        high: Option<f64>,
    },
    /// A weighted sum of rewards.
    Weighted {
        /// The parts.
        #[schema(no_recursion)]
        parts: Vec<WeightedReward>,
    },
}

/// The unit of a box's coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// Pixels of the image as it came.
    Pixel,
    /// Thousandths of the image's width and height.
    Thousand,
    /// Pixels of the image as the model sees it, resized.
    Resized,
}

/// How an image and a text are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageTextScore {
    /// The cosine of their vectors, from -1 to 1.
    Cosine,
    /// The probability that they belong together, from 0 to 1 (SigLIP only).
    Probability,
}

/// Which text of a response is compared with the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageTextPart {
    /// All of it.
    Response,
    /// The answer.
    Answer,
}

/// One part of [`RewardSpec::Weighted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedReward {
    /// Its weight.
    pub weight: f64,
    /// The reward itself.
    pub reward: RewardSpec,
}
