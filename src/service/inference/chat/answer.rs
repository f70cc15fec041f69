//! What a chat completion answers, in `OpenAI`'s shape.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::request::{Plan, ResponseText};
use crate::serving::answer::{
    AttentionAnswer, Choice, FinishReason, GenerateAnswer, Timings, TokenInfo, Usage, Visual, Warning,
};

/// What every part of an answer repeats.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) model: String,
}

/// Answer of `POST /v1/chat/completions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatAnswer {
    /// `chatcmpl_…`.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Unix time in seconds.
    pub created: i64,
    /// The model that answered, resolved.
    pub model: String,
    /// The responses.
    pub choices: Vec<ChatChoice>,
    /// Token counts.
    pub usage: ChatUsage,
    /// Token ids of the prompt, image tokens included, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// The additional fields requested with `vgpo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vgpo: Option<ChatDetails>,
}

/// One response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatChoice {
    /// Its number, from 0.
    pub index: usize,
    /// The response.
    pub message: AssistantMessage,
    /// Log-probs of its tokens, if requested.
    pub logprobs: Option<ChatLogprobs>,
    /// `stop` or `length`.
    pub finish_reason: FinishReason,
    /// Its token ids, the end token included, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
    /// Its visual measures, if the request has `vgpo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vgpo: Option<ChoiceDetails>,
}

/// The response as a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssistantMessage {
    /// `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
    /// Always null.
    pub refusal: Option<String>,
}

/// Log-probs of a response's tokens, without the end token unless token ids were requested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatLogprobs {
    /// One entry per token.
    pub content: Vec<TokenLogprob>,
    /// Always null.
    pub refusal: Option<Vec<TokenLogprob>>,
}

/// A token and its log-prob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenLogprob {
    /// Its text.
    pub token: String,
    /// Its log-prob under the unmodified model: temperature 1, no token excluded.
    pub logprob: f64,
    /// Its bytes.
    pub bytes: Option<Vec<u8>>,
    /// The most likely tokens at this position.
    pub top_logprobs: Vec<Alternative>,
}

/// An alternative token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alternative {
    /// Its text.
    pub token: String,
    /// Its log-prob.
    pub logprob: f64,
    /// The bytes of its text.
    pub bytes: Option<Vec<u8>>,
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatUsage {
    /// Tokens of the prompt, images included.
    pub prompt_tokens: usize,
    /// Tokens generated over all choices.
    pub completion_tokens: usize,
    /// Prompt and completion.
    pub total_tokens: usize,
}

/// Additional fields of an answer, beyond `OpenAI`'s format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatDetails {
    /// Seed of the sampling.
    pub seed: u64,
    /// Image tokens of the prompt.
    pub image_tokens: usize,
    /// Where the time went.
    pub timings: Timings,
    /// Reasons to be careful with the answer.
    pub warnings: Vec<Warning>,
}

/// Additional fields of a response, beyond `OpenAI`'s format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChoiceDetails {
    /// Its visual focus; null without images.
    pub visual: Option<Visual>,
    /// Its tokens with focus and attention shares; empty at the end of a stream, because they were in its chunks.
    pub tokens: Vec<TokenInfo>,
    /// Its attention maps.
    pub attention: AttentionAnswer,
}

/// One event of a streamed chat completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatChunk {
    /// `chatcmpl_…`, the same in every chunk.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: String,
    /// Unix time in seconds.
    pub created: i64,
    /// The model that answers, resolved.
    pub model: String,
    /// The new part; empty in the chunk with the token counts.
    pub choices: Vec<ChunkChoice>,
    /// Token counts, in the last chunk, if requested.
    pub usage: Option<ChatUsage>,
    /// The additional fields requested with `vgpo`, in the last chunk of a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vgpo: Option<ChatDetails>,
}

/// The new part of a response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChunkChoice {
    /// Its number, from 0.
    pub index: usize,
    /// New text.
    pub delta: Delta,
    /// Log-probs of the new tokens, if requested.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended, once it has.
    pub finish_reason: Option<FinishReason>,
    /// Its visual measures, if the request has `vgpo`: of the new tokens, and at the end of the whole response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vgpo: Option<ChoiceDetails>,
}

/// New text of a response.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Delta {
    /// `assistant`, in the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

impl From<Usage> for ChatUsage {
    fn from(usage: Usage) -> Self {
        let Usage { prompt_tokens, completion_tokens, total_tokens, .. } = usage;
        Self { prompt_tokens, completion_tokens, total_tokens }
    }
}

/// The whole answer.
pub(super) fn whole(head: Head, plan: &Plan, answer: GenerateAnswer) -> ChatAnswer {
    let vgpo = plan.visual.then(|| details(&answer));
    ChatAnswer {
        id: head.id,
        object: "chat.completion".to_owned(),
        created: head.created,
        model: head.model,
        usage: answer.usage.into(),
        prompt_token_ids: answer.prompt_token_ids,
        choices: answer.choices.into_iter().map(|choice| self::choice(choice, plan)).collect(),
        vgpo,
    }
}

pub(super) fn details(answer: &GenerateAnswer) -> ChatDetails {
    ChatDetails {
        seed: answer.seed,
        image_tokens: answer.usage.image_tokens,
        timings: answer.timings,
        warnings: answer.warnings.clone(),
    }
}

fn choice(choice: Choice, plan: &Plan) -> ChatChoice {
    let token_ids = plan.generate.return_token_ids.then(|| choice.tokens.iter().map(|token| token.id).collect());
    let logprobs = plan.logprobs.then(|| {
        // With the ids of all tokens come the log-probs of all.
        let all = plan.generate.return_token_ids;
        let listed = if all { choice.tokens.len() } else { visible(&choice.tokens, choice.text.len()) };
        logprobs(&choice.tokens[..listed])
    });
    let content = if plan.text == ResponseText::WithSpecialTokens { with_special(&choice.tokens) } else { choice.text };
    ChatChoice {
        index: choice.index,
        message: AssistantMessage { role: "assistant".to_owned(), content, refusal: None },
        logprobs,
        finish_reason: choice.finish_reason,
        token_ids,
        vgpo: plan.visual.then_some(ChoiceDetails {
            visual: choice.visual,
            tokens: choice.tokens,
            attention: choice.attention,
        }),
    }
}

/// The text of all tokens, special ones included.
fn with_special(tokens: &[TokenInfo]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How many tokens of a response make up its text of `length` bytes: the token that ended it does not.
pub(super) fn visible(tokens: &[TokenInfo], length: usize) -> usize {
    let mut bytes = 0;
    tokens
        .iter()
        .take_while(|token| {
            let begins_inside = bytes < length;
            bytes += token.bytes.len();
            begins_inside
        })
        .count()
}

pub(super) fn logprobs(tokens: &[TokenInfo]) -> ChatLogprobs {
    let entry = |token: &TokenInfo| TokenLogprob {
        token: token.text.clone(),
        logprob: token.logprob,
        bytes: Some(token.bytes.clone()),
        top_logprobs: token.top_logprobs.iter().flatten().map(alternative).collect(),
    };
    ChatLogprobs { content: tokens.iter().map(entry).collect(), refusal: None }
}

fn alternative(top: &crate::serving::answer::TopLogprob) -> Alternative {
    Alternative { token: top.text.clone(), logprob: top.logprob, bytes: Some(top.text.clone().into_bytes()) }
}
