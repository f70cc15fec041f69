//! What the starter can be made of: the configurations of its families.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tokenizer::with_token_ids;

/// How a task's pictures are cut; an image token is 2 x 2 patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picture {
    /// Side of a patch in pixels.
    patch: usize,
    /// Patches on a side of the task's largest picture.
    patches: usize,
    /// Area of the largest picture.
    max_pixels: usize,
}

impl Picture {
    /// A digit's cell of 28 px is 2 x 2 image tokens, so that attention maps show more than a quarter.
    pub(super) const DIGITS: Self = Self { patch: 7, patches: 8, max_pixels: 4704 };
    /// A digit's cell is one image token: a look is at one of them.
    pub(super) const SURVEY: Self = Self { patch: 14, patches: 8, max_pixels: 12_544 };
}

/// The architecture of a starter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StarterFamily {
    /// Attention in every layer; the starter that ships.
    #[default]
    #[serde(rename = "qwen2_5_vl")]
    Qwen2_5Vl,
    /// Three of four layers are gated delta nets.
    #[serde(rename = "qwen3_5")]
    Qwen3_5,
}

impl StarterFamily {
    /// All of them, by the `model_type` of their configurations.
    pub const ALL: [(&'static str, Self); 2] = [("qwen2_5_vl", Self::Qwen2_5Vl), ("qwen3_5", Self::Qwen3_5)];

    /// The one of this `model_type`.
    ///
    /// # Errors
    /// There is none; the message names those that exist.
    pub fn named(name: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, family)| *family).ok_or_else(|| {
            let name: String = name.chars().take(80).collect();
            format!("no starter is made of `{name}`; there are: {}", Self::ALL.map(|(known, _)| known).join(", "))
        })
    }

    /// `config.json` for a tokenizer of `words` words and an embedding of `vocabulary` rows.
    pub(super) fn config(self, picture: Picture, vocabulary: usize, words: usize) -> Value {
        let config = match self {
            Self::Qwen2_5Vl => qwen2_5_vl(picture, vocabulary),
            Self::Qwen3_5 => qwen3_5(picture, vocabulary),
        };
        with_token_ids(config, words, "<|im_end|>")
    }

    /// `preprocessor_config.json`.
    pub(super) fn preprocessor(self, picture: Picture) -> Value {
        let processor = match self {
            Self::Qwen2_5Vl => "Qwen2_5_VLProcessor",
            Self::Qwen3_5 => "Qwen3VLProcessor",
        };
        json!({
            "image_processor_type": "Qwen2VLImageProcessor", "processor_class": processor,
            "patch_size": picture.patch, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 784,
            "max_pixels": picture.max_pixels,
            "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        })
    }
}

fn qwen2_5_vl(picture: Picture, vocabulary: usize) -> Value {
    json!({
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
        "tie_word_embeddings": true, "hidden_act": "silu", "hidden_size": 128, "intermediate_size": 384,
        "initializer_range": 0.02, "max_position_embeddings": 1024, "max_window_layers": 4,
        "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "rope_scaling": { "type": "mrope", "mrope_section": [4, 6, 6] },
        "sliding_window": 1024, "use_sliding_window": false, "use_cache": true, "attention_dropout": 0.0,
        "torch_dtype": "float32", "vocab_size": vocabulary,
        "vision_config": {
            "model_type": "qwen2_5_vl", "depth": 3, "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 160,
            "num_heads": 4, "in_chans": 3, "out_hidden_size": 128, "patch_size": picture.patch,
            "spatial_patch_size": picture.patch,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2, "window_size": 112,
            "fullatt_block_indexes": [0, 1, 2],
        },
    })
}

/// Two periods of this family's layers, three delta nets and then attention: what one finds in the picture, the next
/// can compute with.
fn qwen3_5(picture: Picture, vocabulary: usize) -> Value {
    json!({
        "architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5", "tie_word_embeddings": true,
        "text_config": {
            "model_type": "qwen3_5_text", "dtype": "float32", "hidden_act": "silu", "hidden_size": 128,
            "intermediate_size": 256, "num_hidden_layers": 8, "full_attention_interval": 4, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "attention_bias": false, "attn_output_gate": true,
            "linear_num_key_heads": 4, "linear_num_value_heads": 4, "linear_key_head_dim": 32,
            "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4, "max_position_embeddings": 1024,
            "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "vocab_size": vocabulary,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.5,
                "mrope_interleaved": true, "mrope_section": [4, 2, 2],
            },
        },
        "vision_config": {
            "model_type": "qwen3_5", "depth": 3, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 64,
            "intermediate_size": 240, "num_heads": 4, "in_channels": 3, "out_hidden_size": 128,
            "patch_size": picture.patch, "spatial_merge_size": 2, "temporal_patch_size": 2,
            "num_position_embeddings": picture.patches * picture.patches,
            "deepstack_visual_indexes": [],
        },
    })
}
