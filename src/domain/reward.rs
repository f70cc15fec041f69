//! How responses are rewarded.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a response is judged. Where a reward asks for "the answer" it reads the last `\boxed{…}`, else what stands in
/// `<answer>…</answer>`, else what follows `</think>`, else the whole response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardSpec {
    /// 1 when the boxed answer equals the ground truth mathematically.
    Math,
    /// 1 when the response reads `<think> … </think> … \boxed{…}`.
    Format,
    /// 1 when the answer is the ground truth, white space aside.
    Exact {
        /// Do capital letters count? (no)
        #[serde(default, skip_serializing_if = "Option::is_none")]
        case_sensitive: Option<bool>,
    },
    /// 1 when the answer chooses the option (A-Z) that the ground truth names.
    Choice,
    /// 1 when the answer is a number near the ground truth; units and percent signs are read.
    Numeric {
        /// Largest difference (0).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        absolute: Option<f64>,
        /// Largest difference as a share of the ground truth's size (0.01 when neither is given).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relative: Option<f64>,
    },
    /// 1 when the pattern is found in the response.
    Regex {
        /// A regular expression (crate `regex`: no backtracking, no look-around).
        pattern: String,
    },
    /// How well the boxes of the answer (`[x1, y1, x2, y2]`, two corners, objects with named sides) cover those of the ground
    /// truth: mean intersection over union of the best one-to-one pairs, over the larger number of boxes.
    Iou {
        /// The coordinates of the answer's boxes (pixel).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Coordinates>,
        /// The coordinates of the ground truth's boxes (pixel).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        truth: Option<Coordinates>,
        /// With it the reward is 1 from this value on, else 0; without it, the value itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        threshold: Option<f64>,
    },
    /// 0 up to `limit - buffer` tokens, then linearly down to -1 at `limit`. It is no answer: it never decides accuracy.
    Length {
        /// Tokens at which the penalty is whole.
        limit: u64,
        /// Tokens over which it grows.
        buffer: u64,
    },
    /// Whatever a server of yours says.
    Webhook {
        /// Where to ask; the host must be allowed by the setting `webhook_hosts`.
        url: String,
        /// Seconds to wait for an answer (30).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_seconds: Option<f64>,
        /// Repeats after a failure that may pass (3).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retries: Option<u32>,
    },
    /// How alike the row's image and the response are, by a CLIP or SigLIP checkpoint. It is no answer: it never decides
    /// accuracy. A row without an image cannot be judged.
    ImageText {
        /// The checkpoint's folder on the server's machine, below one of the folders that the setting `model_roots` lists.
        model: String,
        /// The measure (cosine).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        score: Option<ImageTextScore>,
        /// Which text is compared (response).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<ImageTextPart>,
        /// The score that becomes 0; with `high`. Without the two the reward is the score itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        low: Option<f64>,
        /// The score that becomes 1; with `low`.
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

/// What the numbers of a box count.
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
