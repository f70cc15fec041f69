//! Chat messages as they arrive in requests and data sets.

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said: a plain string, or a list of parts.
    pub content: Content,
}

/// Who speaks in a [`Message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = MessageRole)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand before the conversation.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

/// What a [`Message`] holds.
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = seq.next_element()? {
            parts.push(part);
        }
        Ok(Content::Parts(parts))
    }
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    /// Text; special tokens typed by a person stay plain text.
    Text {
        /// The text itself.
        text: String,
    },
    /// An image: a `data:` URL, or the address of one at a host of the setting `image_hosts` (on the command line also a file
    /// path).
    Image {
        /// Where the pixels come from.
        image: String,
    },
    /// An image in `OpenAI`'s form.
    ImageUrl {
        /// Where the pixels come from.
        image_url: ImageUrl,
    },
    /// A video: understood so that it can be refused by name; only still images are supported.
    Video {
        /// Ignored.
        #[serde(default)]
        video: serde_json::Value,
    },
}

impl Part {
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
            Self::Image { image } => Some(image),
            Self::ImageUrl { image_url } => Some(&image_url.url),
            Self::Text { .. } | Self::Video { .. } => None,
        }
    }
}

/// `OpenAI`'s wrapper of an image address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImageUrl {
    /// A `data:` URL, or an address at a host of the setting `image_hosts`.
    pub url: String,
    /// Accepted for compatibility; the image processor decides the resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
