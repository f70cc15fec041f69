//! Requests for chat completions, and the engine's request for one.

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::fields;
use super::others::{self, WithOthers};
use crate::config::serving as defaults;
use crate::domain::field_error::{FieldError, MOST_ERRORS};
use crate::domain::lists;
use crate::domain::message::{Content, Message, Part, Role};
use crate::domain::template_arguments::TemplateArguments;
use crate::service::ServiceError;
use crate::serving::request::{AttentionOptions, GenerateRequest, MOST_MESSAGES, MOST_TEXTS};

/// The fields that are read; every other one is judged by `fields.rs`.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "n",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "logprobs",
    "top_logprobs",
    "return_token_ids",
    "skip_special_tokens",
    "chat_template_kwargs",
    "enable_thinking",
    "vgpo",
];

/// Body of `POST /v1/chat/completions`.
///
/// `user`, `store`, `metadata`, `service_tier` and similar fields are accepted and ignored. Tools, audio, penalties,
/// `logit_bias` and response formats other than text are rejected, unless they have their default.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(remote = "Self")]
pub struct ChatRequest {
    /// A registered name, a checkpoint (`ckpt_…`) or a run's checkpoint (`run_…@best`, `run_…@last`).
    pub model: String,
    /// The conversation; images as `image_url` parts with `data:` URLs.
    #[serde(deserialize_with = "lists::at_most::<_, _, MOST_MESSAGES>")]
    pub messages: Vec<ChatMessage>,
    /// Maximum number of tokens of a response; by default the rest of the context, as in `/generate`.
    #[serde(default)]
    pub max_completion_tokens: Option<usize>,
    /// The older name of `max_completion_tokens`.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// Sampling temperature; 0 is greedy, the default is 1.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Nucleus sampling: samples from the most likely tokens whose cumulative probability reaches this value.
    #[serde(default)]
    pub top_p: Option<f64>,
    /// Number of responses.
    #[serde(default)]
    pub n: Option<usize>,
    /// Seed of the sampling.
    #[serde(default)]
    pub seed: Option<i64>,
    /// Stop strings.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub stop: Stops,
    /// Server-sent events instead of one answer.
    #[serde(default)]
    pub stream: Option<bool>,
    /// What a stream contains in addition to the text.
    #[serde(default)]
    pub stream_options: Option<StreamOptions>,
    /// List the log-prob of every token.
    #[serde(default)]
    pub logprobs: Option<bool>,
    /// Number of alternatives to list for each token; requires `logprobs`.
    #[serde(default)]
    pub top_logprobs: Option<usize>,
    /// Add the token ids of the prompt (`prompt_token_ids`) and of every response (`token_ids`, the end token
    /// included), as vLLM does; `logprobs` then has an entry for each of them.
    #[serde(default)]
    pub return_token_ids: Option<bool>,
    /// `false`: special tokens, such as the end token, are part of the text.
    #[serde(default)]
    pub skip_special_tokens: Option<bool>,
    /// Arguments of the model's chat template, e.g. `{"enable_thinking": false}`; see `/generate`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<TemplateArguments>,
    /// Short for `chat_template_kwargs: {"enable_thinking": …}`, which goes before it.
    #[serde(default)]
    pub enable_thinking: Option<bool>,
    /// This program's own options; with it (even an empty object) every choice has its visual measures.
    #[serde(default)]
    pub vgpo: Option<VgpoOptions>,
    /// The gist of everything else.
    #[serde(skip)]
    #[schema(ignore)]
    pub other: Map<String, Value>,
}

impl<'de> Deserialize<'de> for ChatRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        others::deserialize(deserializer)
    }
}

impl<'de> WithOthers<'de> for ChatRequest {
    const KNOWN: &'static [&'static str] = KNOWN;

    fn read<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Self::deserialize(json)
    }

    fn keep(&mut self, others: Map<String, Value>) {
        self.other = others;
    }
}

/// One turn of a chat.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(remote = "Self")]
pub struct ChatMessage {
    /// The role.
    pub role: ChatRole,
    /// The content: a string or a list of parts.
    #[serde(default)]
    pub content: Option<Content>,
    /// The gist of everything else.
    #[serde(skip)]
    #[schema(ignore)]
    pub other: Map<String, Value>,
}

impl<'de> Deserialize<'de> for ChatMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        others::deserialize(deserializer)
    }
}

impl<'de> WithOthers<'de> for ChatMessage {
    const KNOWN: &'static [&'static str] = &["role", "content"];

    fn read<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Self::deserialize(json)
    }

    fn keep(&mut self, others: Map<String, Value>) {
        self.other = others;
    }
}

/// The role of a [`ChatMessage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// Instructions.
    System,
    /// Instructions under their newer name.
    Developer,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

/// What a stream contains in addition to the text.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// A last chunk with the token counts.
    #[serde(default)]
    pub include_usage: Option<bool>,
    /// Accepted and ignored.
    #[serde(default)]
    pub include_obfuscation: Option<bool>,
}

/// This program's own options of a chat.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VgpoOptions {
    /// Attention maps, as in `/generate`.
    #[serde(default)]
    pub attention: AttentionOptions,
    /// Decode every response in its own batch, so that its tokens do not depend on other requests.
    #[serde(default)]
    pub deterministic: bool,
}

/// `stop`: null, one text or several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stops(Vec<String>);

impl<'de> Deserialize<'de> for Stops {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StopsVisitor)
    }
}

struct StopsVisitor;

impl<'de> Visitor<'de> for StopsVisitor {
    type Value = Stops;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("null, a string or a list of strings")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Stops, E> {
        Ok(Stops::default())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Stops, E> {
        Ok(Stops(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Stops, A::Error> {
        lists::entries(seq, MOST_TEXTS).map(Stops)
    }
}

/// What the text of a response consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseText {
    /// Everything but special tokens.
    Plain,
    /// All tokens.
    WithSpecialTokens,
}

/// A chat as the engine takes it, and how its answer is to be written.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) generate: GenerateRequest,
    pub(super) include_usage: bool,
    pub(super) logprobs: bool,
    pub(super) visual: bool,
    pub(super) text: ResponseText,
    /// Under which name the request limits the response.
    limit: &'static str,
}

impl Plan {
    /// An error of the engine in the words of the request.
    pub(super) fn renamed(&self, error: ServiceError) -> ServiceError {
        let ServiceError::Invalid { errors, .. } = error else { return error };
        let rename = |error: FieldError| {
            let pointer = match error.pointer.as_str() {
                "/max_new_tokens" => format!("/{}", self.limit),
                "/logprobs" => "/top_logprobs".to_owned(),
                other if other.starts_with("/attention") => format!("/vgpo{other}"),
                other => other.to_owned(),
            };
            FieldError::new(pointer, error.detail.replace("`max_new_tokens`", &format!("`{}`", self.limit)))
        };
        ServiceError::invalid(errors.into_iter().map(rename).collect())
    }
}

impl ChatRequest {
    /// Does the client want a stream?
    pub fn wants_stream(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// What the engine is to do.
    ///
    /// # Errors
    /// Every field that cannot be honoured.
    pub(super) fn plan(self) -> Result<Plan, Vec<FieldError>> {
        let mut faults = fields::faults(&self.other, KNOWN);
        let logprobs = self.logprobs.unwrap_or(false);
        if self.top_logprobs.is_some_and(|top| top > 0) && !logprobs {
            faults.push(FieldError::new("/top_logprobs", "`top_logprobs` needs `logprobs`: true"));
        }
        if self.stream_options.is_some() && !self.stream.unwrap_or(false) {
            faults.push(FieldError::new("/stream_options", "`stream_options` needs `stream`: true"));
        }
        let token_ids = self.return_token_ids.unwrap_or(false);
        let special = !self.skip_special_tokens.unwrap_or(true);
        for (name, given) in [("return_token_ids", token_ids), ("skip_special_tokens", special)] {
            if given && self.wants_stream() {
                let detail = format!("`{name}` is not supported in a stream: leave `stream` out");
                faults.push(FieldError::new(format!("/{name}"), detail));
            }
        }
        if self.messages.is_empty() {
            faults.push(FieldError::new("/messages", "`messages` is empty; send at least one message"));
        }
        let limit = if self.max_completion_tokens.is_some() { "max_completion_tokens" } else { "max_tokens" };
        let mut messages = Vec::with_capacity(self.messages.len());
        for (index, message) in self.messages.into_iter().enumerate() {
            if faults.len() >= MOST_ERRORS {
                break;
            }
            faults.extend(fields::message_faults(index, &message.other));
            messages.extend(message.plain(index).map_err(|fault| faults.push(fault)));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let text = if special { ResponseText::WithSpecialTokens } else { ResponseText::Plain };
        let vgpo = self.vgpo.clone().unwrap_or_default();
        let arguments = self.chat_template_kwargs.unwrap_or_default();
        let generate = GenerateRequest {
            model: self.model,
            messages: Some(messages),
            prompt: None,
            images: None,
            chat_template_kwargs: arguments.over(&TemplateArguments::thinking(self.enable_thinking)),
            max_new_tokens: self.max_completion_tokens.or(self.max_tokens),
            temperature: self.temperature.unwrap_or_else(defaults::chat_temperature),
            top_p: self.top_p.unwrap_or_else(defaults::top_p),
            // A negative seed is as good as any other: its bits are taken.
            seed: self.seed.map(|seed| seed as u64),
            stop: self.stop.0,
            n: self.n.unwrap_or_else(defaults::choices),
            stream: self.stream.unwrap_or(false),
            logprobs: self.top_logprobs.unwrap_or(0),
            attention: vgpo.attention,
            deterministic: vgpo.deterministic,
            return_token_ids: token_ids,
        };
        let include_usage = self.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
        Ok(Plan { generate, include_usage, logprobs, text, visual: self.vgpo.is_some(), limit })
    }
}

impl ChatMessage {
    fn plain(self, index: usize) -> Result<Message, FieldError> {
        let role = match self.role {
            ChatRole::System | ChatRole::Developer => Role::System,
            ChatRole::User => Role::User,
            ChatRole::Assistant => Role::Assistant,
        };
        match self.content {
            Some(mut content) => {
                if let Content::Parts(parts) = &mut content {
                    parts.iter_mut().for_each(Part::pull_limits_out);
                }
                Ok(Message { role, content })
            }
            None => Err(FieldError::new(
                format!("/messages/{index}/content"),
                "`content` is missing; send a string or a list of parts",
            )),
        }
    }
}
