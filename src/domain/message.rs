//! Chat messages as they arrive in requests and data sets.

use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::lists;

/// Parts of one message.
const MOST_PARTS: usize = 10_000;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The role.
    pub role: Role,
    /// The content: a string, or a list of parts.
    pub content: Content,
}

/// The role of a [`Message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = MessageRole)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions before the conversation.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

/// The content of a [`Message`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Content {
    /// Text only.
    Text(String),
    /// Text and images, in order.
    Parts(Vec<Part>),
}

// Written out because serde's own form for untagged enums hides which part is wrong, and why.
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string or a list of parts, e.g. {\"type\": \"text\", \"text\": \"…\"}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Content, A::Error> {
        lists::entries(seq, MOST_PARTS).map(Content::Parts)
    }
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text; special tokens in it stay plain text.
    Text {
        /// The text itself.
        text: String,
    },
    /// An image: a `data:` URL, or a URL of a host in the setting `image_hosts` (on the command line also a file path).
    Image {
        /// Source of the pixels.
        image: String,
        /// Smallest area in pixels that the image is resized to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_pixels: Option<u64>,
        /// Largest area in pixels that the image is resized to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_pixels: Option<u64>,
    },
    /// An image in `OpenAI`'s format.
    ImageUrl {
        /// Source of the pixels.
        image_url: ImageUrl,
        /// Smallest area in pixels that the image is resized to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_pixels: Option<u64>,
        /// Largest area in pixels that the image is resized to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_pixels: Option<u64>,
    },
    /// A video; always rejected, because only still images are supported.
    Video {
        /// Ignored, and not stored.
        #[serde(default)]
        video: serde_json::Value,
    },
}

/// What the types of parts are called.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PartType {
    Text,
    Image,
    ImageUrl,
    Video,
}

/// Everything that a part may hold, whatever its type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartFields {
    #[serde(rename = "type")]
    kind: PartType,
    text: Option<String>,
    image: Option<String>,
    image_url: Option<ImageUrl>,
    video: Option<IgnoredAny>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
}

impl PartFields {
    fn part<E: de::Error>(self) -> Result<Part, E> {
        use PartType::{Image, ImageUrl, Text, Video};
        let (kind, limits) = (self.kind, self.min_pixels.is_some() || self.max_pixels.is_some());
        let given = [
            ("text", self.text.is_some() && !matches!(kind, Text)),
            ("image", self.image.is_some() && !matches!(kind, Image)),
            ("image_url", self.image_url.is_some() && !matches!(kind, ImageUrl)),
            ("video", self.video.is_some() && !matches!(kind, Video)),
            ("min_pixels` or `max_pixels", limits && !matches!(kind, Image | ImageUrl)),
        ];
        if let Some((foreign, _)) = given.iter().find(|(_, foreign)| *foreign) {
            return Err(E::custom(format!("`{foreign}` does not belong into a part of this type")));
        }
        let (min_pixels, max_pixels) = (self.min_pixels, self.max_pixels);
        match kind {
            Text => self.text.map(|text| Part::Text { text }).ok_or_else(|| E::missing_field("text")),
            Image => {
                let image = self.image.ok_or_else(|| E::missing_field("image"))?;
                Ok(Part::Image { image, min_pixels, max_pixels })
            }
            ImageUrl => {
                let image_url = self.image_url.ok_or_else(|| E::missing_field("image_url"))?;
                Ok(Part::ImageUrl { image_url, min_pixels, max_pixels })
            }
            Video => Ok(Part::Video { video: serde_json::Value::Null }),
        }
    }
}

// Written out because serde's own form for tagged enums keeps everything that a part holds until it knows its type.
impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PartFields::deserialize(deserializer)?.part()
    }
}

impl Part {
    /// An image part.
    pub fn of_image(image: String) -> Self {
        Self::Image { image, min_pixels: None, max_pixels: None }
    }

    /// The text of a text part.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            _ => None,
        }
    }

    /// The address of an image part.
    pub fn image(&self) -> Option<&str> {
        match self {
            Self::Image { image, .. } => Some(image),
            Self::ImageUrl { image_url, .. } => Some(&image_url.url),
            Self::Text { .. } | Self::Video { .. } => None,
        }
    }

    /// The limits that an image part sets for its image.
    pub fn area_limits(&self) -> AreaLimits {
        match self {
            Self::Image { min_pixels, max_pixels, .. } | Self::ImageUrl { min_pixels, max_pixels, .. } => {
                AreaLimits { min_pixels: *min_pixels, max_pixels: *max_pixels }
            }
            Self::Text { .. } | Self::Video { .. } => AreaLimits::default(),
        }
    }

    /// Moves limits from inside `image_url` next to it, where they take precedence.
    pub fn pull_limits_out(&mut self) {
        if let Self::ImageUrl { image_url, min_pixels, max_pixels } = self {
            *min_pixels = image_url.min_pixels.take().or(*min_pixels);
            *max_pixels = image_url.max_pixels.take().or(*max_pixels);
        }
    }

    /// The name of a limit inside `image_url`.
    pub fn limit_inside(&self) -> Option<&'static str> {
        let Self::ImageUrl { image_url, .. } = self else { return None };
        if image_url.min_pixels.is_some() { Some("min_pixels") } else { image_url.max_pixels.map(|_| "max_pixels") }
    }
}

/// `OpenAI`'s wrapper of an image URL.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageUrl {
    /// A `data:` URL, or a URL of a host in the setting `image_hosts`.
    pub url: String,
    /// Accepted for compatibility; `min_pixels` and `max_pixels` decide the resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<ImageDetail>,
    /// As next to `image_url`; chat completions only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_pixels: Option<u64>,
    /// As next to `image_url`; chat completions only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,
}

/// `OpenAI`'s level of detail of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageDetail {
    /// As the model likes.
    Auto,
    /// Small.
    Low,
    /// Large.
    High,
    /// As it came.
    Original,
}

/// What an image may be resized to; what is none is decided elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AreaLimits {
    /// Smallest area in pixels.
    pub min_pixels: Option<u64>,
    /// Largest area in pixels.
    pub max_pixels: Option<u64>,
}

impl AreaLimits {
    /// These limits, and those of `other` where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { min_pixels: self.min_pixels.or(other.min_pixels), max_pixels: self.max_pixels.or(other.max_pixels) }
    }

    /// What these limits of one image make of those that apply else: a limit given alone moves the other one out of its
    /// way.
    #[must_use]
    pub fn over(self, usual: Self) -> Self {
        match (self.min_pixels, self.max_pixels) {
            (Some(min), None) => Self { min_pixels: Some(min), max_pixels: usual.max_pixels.map(|max| max.max(min)) },
            (None, Some(max)) => Self { min_pixels: usual.min_pixels.map(|min| min.min(max)), max_pixels: Some(max) },
            _ => self.or(usual),
        }
    }
}
