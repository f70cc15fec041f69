//! Shapes of models that `vgpo bench model` writes: small ones that the tables of docs/performance.md were measured
//! with, and those of published checkpoints.

mod qwen3_5;
mod qwen_vl;

use serde_json::Value;

use crate::starter::tokenizer::with_token_ids;

/// Side of a patch of the models that read pictures in the layout of Qwen2.5-VL, in pixels.
const PATCH: usize = 14;
/// Side of a patch of later ones.
const LATER_PATCH: usize = 16;
/// Vocabulary of the small models.
const SMALL_VOCABULARY: usize = 1024;

/// A shape.
#[derive(Debug)]
pub struct ModelShape {
    /// What it is called.
    pub name: &'static str,
    /// What it is, for the help of a command.
    pub about: &'static str,
    /// `config.json`.
    pub(super) config: fn(&TokenIds) -> Value,
    /// Rows of the token embedding.
    pub(super) vocabulary: usize,
    /// Side of a patch in pixels.
    pub(super) patch: usize,
    /// The image processor's class in transformers.
    pub(super) processor: &'static str,
    /// Is it written tensor by tensor, in 16 bits? Small models have 32.
    pub(super) streamed: bool,
}

/// Every shape; the first is what the measurements take by default.
pub const SHAPES: &[ModelShape] = &[
    ModelShape {
        name: "reference",
        about: "Qwen2.5-VL with 6 million parameters",
        config: qwen_vl::reference,
        vocabulary: SMALL_VOCABULARY,
        patch: PATCH,
        processor: "Qwen2_5_VLProcessor",
        streamed: false,
    },
    ModelShape {
        name: "reference-qwen3.5",
        about: "Qwen3.5 with 6 million parameters: 8 layers, 6 of them delta nets",
        config: qwen3_5::reference,
        vocabulary: SMALL_VOCABULARY,
        patch: PATCH,
        processor: "Qwen3VLProcessor",
        streamed: false,
    },
    ModelShape {
        name: "0.5b",
        about: "Qwen2.5-VL with the decoder of Qwen2.5-0.5B and a tower of 0.1 billion parameters",
        config: qwen_vl::half_billion,
        vocabulary: qwen_vl::VOCABULARY,
        patch: PATCH,
        processor: "Qwen2_5_VLProcessor",
        streamed: true,
    },
    ModelShape {
        name: "qwen2.5-vl-3b",
        about: "Qwen2.5-VL-3B",
        config: qwen_vl::three_billion,
        vocabulary: qwen_vl::VOCABULARY,
        patch: PATCH,
        processor: "Qwen2_5_VLProcessor",
        streamed: true,
    },
    ModelShape {
        name: "qwen3-vl-2b",
        about: "Qwen3-VL-2B",
        config: qwen_vl::later_two_billion,
        vocabulary: qwen_vl::VOCABULARY,
        patch: LATER_PATCH,
        processor: "Qwen3VLProcessor",
        streamed: true,
    },
    ModelShape {
        name: "qwen3.5-0.8b",
        about: "Qwen3.5-0.8B, with a tower of 0.1 billion parameters",
        config: qwen3_5::published,
        vocabulary: qwen3_5::VOCABULARY,
        patch: LATER_PATCH,
        processor: "Qwen3VLProcessor",
        streamed: true,
    },
];

impl ModelShape {
    /// The shape of this name.
    ///
    /// # Errors
    /// No shape has it.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        SHAPES.iter().find(|shape| shape.name == name).ok_or_else(|| {
            let known: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
            format!(
                "there is no shape `{}`; there are: {}",
                name.chars().take(80).collect::<String>(),
                known.join(", ")
            )
        })
    }

    /// What a measurement takes by default.
    pub fn reference() -> &'static Self {
        &SHAPES[0]
    }
}

/// Token ids that configurations name, of a tokenizer with this number of words.
pub(super) struct TokenIds(pub(super) usize);

impl TokenIds {
    /// `config` with the ids that every family names at its top.
    ///
    /// The end token is the placeholder of videos, which is never sampled, so every response has the maximum length.
    fn named_in(&self, config: Value) -> Value {
        with_token_ids(config, self.0, "<|video_pad|>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_unknown_ones_are_told() {
        let mut names: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SHAPES.len());
        assert_eq!(ModelShape::named("0.5b").unwrap().name, "0.5b");
        assert!(ModelShape::named("13b").unwrap_err().contains("reference, "));
    }
}
