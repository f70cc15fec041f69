//! Answers of the engine; field names are those of the HTTP API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer of `POST /generate`, and the payload of a stream's last event (there without the tokens already sent).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GenerateAnswer {
    /// `gen_…`.
    pub id: String,
    /// The model that answered, resolved: `run_…@best` becomes its `ckpt_…`.
    pub model: String,
    /// Seed of the sampling.
    pub seed: u64,
    /// The responses.
    pub choices: Vec<Choice>,
    /// Token counts.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// Reasons to be careful with the answer.
    pub warnings: Vec<Warning>,
    /// Token ids of the prompt, image tokens included, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// One response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    /// Its number, from 0.
    pub index: usize,
    /// Its text, without special tokens and stop strings.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Its tokens, including the end token but not those of a matched stop string.
    pub tokens: Vec<TokenInfo>,
    /// Its visual focus; null without images.
    pub visual: Option<Visual>,
    /// Its attention maps.
    pub attention: AttentionAnswer,
}

/// Why a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or it matched a stop string.
    Stop,
    /// It reached `max_new_tokens`.
    Length,
}

/// One generated token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// Its id.
    pub id: u32,
    /// Its text; an incomplete character is shown as U+FFFD.
    pub text: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its log-prob under the unmodified model: temperature 1, no token excluded.
    pub logprob: f64,
    /// The most likely tokens at this position, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<Vec<TopLogprob>>,
    /// Visual focus score of its hidden state, in [0, 1]; null without images.
    pub focus: Option<f64>,
    /// Attention shares of the position that predicted it.
    pub attention: Shares,
}

/// An alternative token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TopLogprob {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// Its log-prob.
    pub logprob: f64,
}

/// Shares of attention; they sum to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Shares {
    /// On image tokens.
    pub image: f64,
    /// On every other token of the prompt.
    pub query: f64,
    /// On tokens generated before.
    pub generated: f64,
}

/// Visual focus of a response: means over its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Visual {
    /// Over all tokens.
    pub focus_mean: f64,
    /// Over the first third.
    pub focus_early: f64,
    /// Over the last third.
    pub focus_late: f64,
    /// Late over early; below 1, the response loses sight of the image.
    pub late_early_ratio: Option<f64>,
}

/// Attention maps of one response.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct AttentionAnswer {
    /// The prompt's images, in order.
    pub images: Vec<ImageInfo>,
    /// One map per image: the mean over all tokens of the response. Empty unless requested.
    pub summary: Vec<AttentionMap>,
    /// Maps by token. Empty unless requested.
    pub tokens: Vec<TokenMaps>,
    /// The decoder layers that shares and maps of attention are the mean of. Layers without attention are never among
    /// them.
    #[serde(default)]
    pub layers: Vec<usize>,
}

/// How the cells of a map correspond to the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageInfo {
    /// Rows of a map.
    pub rows: usize,
    /// Columns of a map.
    pub cols: usize,
    /// Width and height of the original image.
    pub original: [u32; 2],
    /// Width and height after resizing.
    pub processed: [u32; 2],
    /// Side of a map's cell, in processed pixels.
    pub cell_px: u32,
}

/// Maps of one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenMaps {
    /// The token's position in the response.
    pub index: usize,
    /// One map per image.
    pub maps: Vec<AttentionMap>,
}

/// One map, in the requested format.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct AttentionMap {
    /// `format: values`: rows of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Vec<f32>>>,
    /// `format: u8`: base64 of rows x cols bytes; value = byte * scale + offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub u8: Option<String>,
    /// `format: png`: base64 of a heat-map picture; the coldest colour is `offset`, the hottest `offset` + 255 *
    /// `scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub png: Option<String>,
    /// Value of one step of a byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Value of the byte 0; 0 for bytes of attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<f64>,
}

/// Token counts of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Tokens of the prompt, images included.
    pub prompt_tokens: usize,
    /// Image tokens among them.
    pub image_tokens: usize,
    /// Tokens generated over all choices, including those of a matched stop string.
    pub completion_tokens: usize,
    /// Prompt and completion.
    pub total_tokens: usize,
}

/// Where the time of a request went.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Timings {
    /// Waiting for the engine.
    pub queue_seconds: f64,
    /// Prefill of prompt and images.
    pub prefill_seconds: f64,
    /// Generating.
    pub decode_seconds: f64,
    /// From entering the queue to the last token.
    pub total_seconds: f64,
    /// Generated tokens per second of decoding, over all choices.
    pub tokens_per_second: f64,
}

/// A reason to be careful with an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// `outside_task` or `out_of_vocabulary`.
    pub code: String,
    /// What was noticed and what to expect.
    pub detail: String,
}

/// Payload of a stream's event `token`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenEvent {
    /// The response it belongs to.
    pub choice: usize,
    /// Its position in the response.
    pub index: usize,
    /// Newly completed text; concatenated over all events it is the response's text.
    pub text: String,
    /// The token.
    pub token: TokenInfo,
    /// Its maps, one per image, with `maps: "tokens"`.
    pub maps: Vec<AttentionMap>,
}

/// Answer of `POST /v1/score`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoreAnswer {
    /// The model that answered, resolved.
    pub model: String,
    /// One entry per response.
    pub responses: Vec<ScoredResponse>,
    /// Token counts; completion tokens are those of the responses.
    pub usage: Usage,
    /// Reasons to be careful with the answer.
    pub warnings: Vec<Warning>,
}

/// One scored response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoredResponse {
    /// Its tokens.
    pub tokens: Vec<ScoredToken>,
    /// Sum of the tokens' log-probs.
    pub logprob: f64,
    /// Visual accumulation: the sum of the compensated focus of its tokens; null without images.
    pub visual_accumulation: Option<f64>,
    /// Inter-trajectory weight (1 + phi multiplies the advantage); 0 without images.
    pub phi: f64,
    /// Group-relative advantage; null without rewards.
    pub advantage: Option<f64>,
    /// Its visual focus; null without images.
    pub visual: Option<Visual>,
    /// Its attention maps.
    pub attention: AttentionAnswer,
    /// Cells that `ablate` hid, by image; absent without `ablate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_cells: Option<Vec<Vec<usize>>>,
}

/// One token of a scored response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoredToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// Its log-prob under the unmodified model: temperature 1, no token excluded.
    pub logprob: f64,
    /// Visual focus score: (similarity + 1) / 2; null without images.
    pub focus: Option<f64>,
    /// Cosine of its hidden state and the mean of the image tokens' states; null without images.
    pub similarity: Option<f64>,
    /// Attention shares of the position that predicts it.
    pub attention: Shares,
    /// With rewards: 1 if the token passes the gate of the visual attention compensation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<f64>,
    /// With rewards: focus after the compensation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensated_focus: Option<f64>,
    /// With rewards: intra-trajectory weight (1 + psi multiplies the advantage).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi: Option<f64>,
    /// With rewards: the advantage that the objective uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shaped_advantage: Option<f64>,
    /// With `ablate`: log-prob with the hidden cells minus log-prob without; negative if the token depends on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_logprob: Option<f64>,
}
