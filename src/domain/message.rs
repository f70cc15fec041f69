//! Chat messages as they arrive in requests and data sets.

use serde::{Deserialize, Serialize};
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Content {
    /// Text only.
    Text(String),
    /// Text and images, in order.
    Parts(Vec<Part>),
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text; special tokens typed by a person stay plain text.
    Text {
        /// The text itself.
        text: String,
    },
    /// An image: a `data:` URL (on the command line also a file path).
    Image {
        /// Where the pixels come from.
        image: String,
    },
    /// An image in OpenAI's form.
    ImageUrl {
        /// Where the pixels come from.
        image_url: ImageUrl,
    },
    /// A video: understood so that it can be refused by name; only still images are supported.
    Video {
        /// Ignored.
        #[serde(default)]
        #[schema(value_type = Object)]
        video: serde_json::Value,
    },
}

/// OpenAI's wrapper of an image address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImageUrl {
    /// A `data:` URL.
    pub url: String,
    /// Accepted for compatibility; the image processor decides the resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
