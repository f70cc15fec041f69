//! Requests to the engine; field names are those of the HTTP API.

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::config::serving as defaults;
use crate::domain::message::Message;
use crate::domain::template_arguments::TemplateArguments;
use crate::domain::{lists, tree};

/// Messages of a conversation, and responses to score.
pub const MOST_MESSAGES: usize = 10_000;
/// Images by address, texts that end a response, layers by number.
pub const MOST_TEXTS: usize = 1000;

/// Body of `POST /generate`. The prompt is given as `messages`, or as `prompt` with `images`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    /// A registered name (`starter`), a checkpoint (`ckpt_…`) or a run's checkpoint (`run_…@best`, `run_…@last`).
    pub model: String,
    /// The conversation.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lists::optional::<_, _, MOST_MESSAGES>"
    )]
    pub messages: Option<Vec<Message>>,
    /// A single question instead of `messages`; `<image>` marks the place of each image (without marks, images come
    /// first).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The images of `prompt`, as `data:` URLs or URLs of hosts in the setting `image_hosts`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lists::optional::<_, _, MOST_TEXTS>"
    )]
    pub images: Option<Vec<String>>,
    /// Arguments of the model's chat template, e.g. `{"enable_thinking": false}`: flags, whole numbers and short
    /// texts. One that the template does not use is an error.
    #[serde(default, skip_serializing_if = "TemplateArguments::is_empty")]
    #[schema(value_type = Object)]
    pub chat_template_kwargs: TemplateArguments,
    /// Maximum number of tokens of a response. By default a response may use the rest of the model's context, as far as
    /// `max_queued_tokens` and, with a map per token, `max_map_values` allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Sampling temperature; 0 is greedy.
    #[serde(default)]
    pub temperature: f64,
    /// Nucleus sampling: samples from the most likely tokens whose cumulative probability reaches this value.
    #[serde(default = "defaults::top_p")]
    pub top_p: f64,
    /// Seed for sampling; random by default, and returned with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Stop strings: they end a response and are not part of it.
    #[serde(default, deserialize_with = "lists::at_most::<_, _, MOST_TEXTS>")]
    pub stop: Vec<String>,
    /// Number of responses.
    #[serde(default = "defaults::choices")]
    pub n: usize,
    /// Stream server-sent events, one per token, instead of a single answer.
    #[serde(default)]
    pub stream: bool,
    /// Number of alternatives to list for each token.
    #[serde(default)]
    pub logprobs: usize,
    /// Attention maps.
    #[serde(default)]
    pub attention: AttentionOptions,
    /// Decode every response in its own batch, so that its tokens do not depend on other requests.
    #[serde(default)]
    pub deterministic: bool,
    /// Add the token ids of the prompt to the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub return_token_ids: bool,
}

/// Which attention maps an answer contains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttentionOptions {
    /// No maps, one per image, or also one per token and image.
    #[serde(default)]
    pub maps: MapScope,
    /// Maps of these tokens only: `[first, end]`, `end` not included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_range: Option<[usize; 2]>,
    /// What a map shows.
    #[serde(default)]
    pub source: MapSource,
    /// Decoder layers that attention is averaged over; shares too.
    #[serde(default)]
    pub layers: Layers,
    /// How heads are combined in maps; shares are always the mean.
    #[serde(default)]
    pub heads: Heads,
    /// How maps are encoded.
    #[serde(default)]
    pub format: MapFormat,
    /// Draw PNG maps over the image.
    #[serde(default = "defaults::overlay")]
    pub overlay: bool,
}

impl Default for AttentionOptions {
    fn default() -> Self {
        Self {
            maps: MapScope::default(),
            tokens_range: None,
            source: MapSource::default(),
            layers: Layers::default(),
            heads: Heads::default(),
            format: MapFormat::default(),
            overlay: defaults::overlay(),
        }
    }
}

/// How many maps an answer contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MapScope {
    /// None.
    #[default]
    None,
    /// One per image: the mean over all tokens of the response.
    Summary,
    /// Also one per token and image.
    Tokens,
}

/// What a map shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MapSource {
    /// Attention of the position that predicts the token; values sum to the token's share for the image.
    #[default]
    Attention,
    /// Cosine of the token's state and each image token's state.
    Similarity,
}

/// How heads are combined in a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Heads {
    /// Their mean.
    #[default]
    Mean,
    /// Their maximum, scaled so that values still sum to the token's share for the image.
    Max,
}

/// How a map is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MapFormat {
    /// Numbers, a list of rows.
    #[default]
    Values,
    /// Bytes in base64, row by row: value = byte * scale + offset.
    U8,
    /// A heat-map picture in base64.
    Png,
}

/// Decoder layers that attention is averaged over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Layers {
    /// By name.
    Named(LayerName),
    /// By index, from 0.
    List(Vec<usize>),
}

/// A set of decoder layers by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LayerName {
    /// All of them.
    Mean,
    /// The last one.
    Last,
}

impl Default for Layers {
    fn default() -> Self {
        Self::Named(LayerName::Mean)
    }
}

impl<'de> Deserialize<'de> for Layers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LayersVisitor)
    }
}

struct LayersVisitor;

impl<'de> Visitor<'de> for LayersVisitor {
    type Value = Layers;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"mean\", \"last\" or a list of layer indices")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Layers, E> {
        match text {
            "mean" => Ok(Layers::Named(LayerName::Mean)),
            "last" => Ok(Layers::Named(LayerName::Last)),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Layers, A::Error> {
        lists::entries(seq, MOST_TEXTS).map(Layers::List)
    }
}

/// Body of `POST /v1/score`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreRequest {
    /// A registered name, a checkpoint or a run's checkpoint, as in `/generate`.
    pub model: String,
    /// The conversation.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lists::optional::<_, _, MOST_MESSAGES>"
    )]
    pub messages: Option<Vec<Message>>,
    /// A single question instead of `messages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The images of `prompt`, as `data:` URLs or URLs of hosts in the setting `image_hosts`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lists::optional::<_, _, MOST_TEXTS>"
    )]
    pub images: Option<Vec<String>>,
    /// Arguments of the model's chat template, e.g. `{"enable_thinking": false}`: flags, whole numbers and short
    /// texts. One that the template does not use is an error.
    #[serde(default, skip_serializing_if = "TemplateArguments::is_empty")]
    #[schema(value_type = Object)]
    pub chat_template_kwargs: TemplateArguments,
    /// The responses to score; special tokens in them are recognised (a response may end in `<|im_end|>`).
    #[serde(deserialize_with = "lists::at_most::<_, _, MOST_MESSAGES>")]
    pub responses: Vec<String>,
    /// One reward per response: adds the method's weights and advantages.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lists::optional::<_, _, MOST_MESSAGES>"
    )]
    pub rewards: Option<Vec<f64>>,
    /// The training method, as in a job, with its defaults for missing fields; by default VGPO as in the paper.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "tree::optional")]
    #[schema(value_type = Option<Object>)]
    pub method: Option<serde_json::Value>,
    /// Attention maps.
    #[serde(default)]
    pub attention: AttentionOptions,
    /// What to hide, to see which tokens depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ablate: Option<Ablate>,
}

/// What to hide from the model. Hidden pixels get the mean colour that images are normalised by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Ablate {
    /// By name.
    Named(AblateName),
    /// Cells of the images' maps.
    Patches(AblatePatches),
}

/// What to hide, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AblateName {
    /// Every image of the prompt.
    Image,
}

/// A share of the image cells to hide: exactly one of `top_patches` and `random_patches`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AblatePatches {
    /// Share of all image cells, from 0 to 1: those that the response attends to most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_patches: Option<f64>,
    /// Share of all image cells, from 0 to 1: drawn at random, the same for every response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_patches: Option<f64>,
    /// Seed of the selection; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl<'de> Deserialize<'de> for Ablate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AblateVisitor)
    }
}

struct AblateVisitor;

impl<'de> Visitor<'de> for AblateVisitor {
    type Value = Ablate;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"image\", {\"top_patches\": share} or {\"random_patches\": share, \"seed\": 1}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Ablate, E> {
        match text {
            "image" => Ok(Ablate::Named(AblateName::Image)),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Ablate, A::Error> {
        AblatePatches::deserialize(de::value::MapAccessDeserializer::new(map)).map(Ablate::Patches)
    }
}
