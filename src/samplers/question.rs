//! A prompt as a chat request in `OpenAI`'s shape, which every engine understands.

use serde_json::{Map, Value, json};

use crate::domain::message::{Content, Message, Part};
use crate::domain::spec::{DataSpec, JobSpec};
use crate::images;
use crate::train::EngineError;
use crate::train::engine::EngineSetup;
use crate::train::rollout::RolloutSettings;
use crate::train::source::Prompt;

/// One prompt that is to be answered.
pub(super) struct Question<'a> {
    pub prompt: &'a Prompt,
    pub setup: &'a EngineSetup,
    pub settings: &'a RolloutSettings,
    /// The name of the model or of its adapters.
    pub model: &'a str,
    /// Its images as PNG in `data:` URLs.
    pub images: &'a [String],
}

impl Question<'_> {
    fn spec(&self) -> &JobSpec {
        &self.setup.spec
    }

    pub(super) fn data(&self) -> &DataSpec {
        &self.spec().data
    }

    /// Tokens that an answer may take of a server.
    pub(super) fn tokens(prompt: &Prompt, settings: &RolloutSettings) -> u64 {
        (prompt.sequence.ids.len() + settings.group_size * settings.max_new_tokens) as u64
    }

    /// The fields that every engine reads alike. Those of a server's own configuration (`generation_config.json`) are
    /// set too, so that they cannot change what is sampled.
    pub(super) fn common(&self) -> Map<String, Value> {
        let RolloutSettings { group_size, temperature, top_p, max_new_tokens, .. } = *self.settings;
        let mut body = Map::new();
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        set("model", self.model.into());
        set("messages", self.messages());
        set("n", group_size.into());
        set("seed", seed(self.spec().seed, self.prompt.cursor).into());
        set("temperature", temperature.into());
        set("top_p", top_p.into());
        set("top_k", (-1).into());
        set("min_p", 0.0.into());
        set("repetition_penalty", 1.0.into());
        set("presence_penalty", 0.0.into());
        set("frequency_penalty", 0.0.into());
        set("max_completion_tokens", max_new_tokens.into());
        set("logprobs", true.into());
        set("skip_special_tokens", false.into());
        if let Some(thinking) = self.data().enable_thinking {
            set("chat_template_kwargs", json!({ "enable_thinking": thinking }));
        }
        body
    }

    fn messages(&self) -> Value {
        let mut images = self.images.iter();
        let message = |message: &Message| {
            let content = match &message.content {
                Content::Text(text) => json!(text),
                Content::Parts(parts) => parts.iter().map(|part| part_of(part, &mut images)).collect(),
            };
            json!({ "role": message.role, "content": content })
        };
        self.prompt.messages.iter().map(message).collect()
    }
}

fn part_of<'a>(part: &Part, images: &mut impl Iterator<Item = &'a String>) -> Value {
    match part.text() {
        Some(text) => json!({ "type": "text", "text": text }),
        None => json!({ "type": "image_url", "image_url": { "url": images.next() } }),
    }
}

/// The images of a prompt as `data:` URLs.
pub(super) fn data_urls(prompt: &Prompt) -> Result<Vec<String>, EngineError> {
    let url = |image: &std::sync::Arc<image::RgbImage>| {
        images::png_url(image)
            .map_err(|error| EngineError::Refused { url: "an image of the row".to_owned(), problem: error.to_string() })
    };
    prompt.example.images.iter().map(url).collect()
}

/// A seed for the responses to the prompt at this position, the same whichever server answers. It fits into 53 bits,
/// because some servers read numbers as floating-point ones.
fn seed(seed: u64, cursor: u64) -> u64 {
    // SplitMix64's finalizer.
    let mut mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(cursor).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) >> 11
}

#[cfg(test)]
mod tests {
    use super::seed;

    #[test]
    fn seeds_differ_by_seed_and_position() {
        let mut all: Vec<u64> = (0..20).flat_map(|s| (0..20).map(move |at| seed(s, at))).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 400);
        assert!(all.iter().all(|seed| *seed < 1 << 53));
    }
}
