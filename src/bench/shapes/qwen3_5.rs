//! Configurations of Qwen3.5.

use serde_json::{Value, json};

use super::{LATER_PATCH, PATCH, SMALL_VOCABULARY, TokenIds};

/// Vocabulary of the published checkpoints.
pub(super) const VOCABULARY: usize = 248_320;

/// Widths and depths.
struct Sizes {
    vocabulary: usize,
    tied: bool,
    format: &'static str,
    hidden: usize,
    mlp: usize,
    layers: usize,
    heads: usize,
    head_dim: usize,
    /// Key and value heads of a delta net.
    delta_heads: usize,
    /// Width of one of these.
    delta_dim: usize,
    sections: [usize; 3],
    vision: usize,
    vision_mlp: usize,
    blocks: usize,
    vision_heads: usize,
    patch: usize,
    positions: usize,
}

/// Three of four layers are delta nets.
fn config(ids: &TokenIds, sizes: &Sizes) -> Value {
    ids.named_in(json!({
        "architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5",
        "tie_word_embeddings": sizes.tied,
        "text_config": {
            "model_type": "qwen3_5_text", "dtype": sizes.format, "hidden_act": "silu", "hidden_size": sizes.hidden,
            "intermediate_size": sizes.mlp, "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads,
            "num_key_value_heads": 2, "head_dim": sizes.head_dim, "attention_bias": false, "attn_output_gate": true,
            "full_attention_interval": 4, "linear_num_key_heads": sizes.delta_heads,
            "linear_num_value_heads": sizes.delta_heads, "linear_key_head_dim": sizes.delta_dim,
            "linear_value_head_dim": sizes.delta_dim, "linear_conv_kernel_dim": 4,
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "vocab_size": sizes.vocabulary,
            "tie_word_embeddings": sizes.tied,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10_000_000, "partial_rotary_factor": 0.25,
                "mrope_interleaved": true, "mrope_section": sizes.sections,
            },
        },
        "vision_config": {
            "model_type": "qwen3_5", "depth": sizes.blocks, "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": sizes.vision, "intermediate_size": sizes.vision_mlp, "num_heads": sizes.vision_heads,
            "in_channels": 3, "out_hidden_size": sizes.hidden, "patch_size": sizes.patch, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "num_position_embeddings": sizes.positions, "deepstack_visual_indexes": [],
        },
    }))
}

/// 6 million parameters: text 256 wide, 8 layers, MLP 272; attention with 4 heads (2 for keys and values) of 64, delta
/// nets with 4 heads of 64; vision 128 wide, 4 blocks, 4 heads, MLP 512.
pub(super) fn reference(ids: &TokenIds) -> Value {
    let sizes = Sizes {
        vocabulary: SMALL_VOCABULARY,
        tied: false,
        format: "float32",
        hidden: 256,
        mlp: 272,
        layers: 8,
        heads: 4,
        head_dim: 64,
        delta_heads: 4,
        delta_dim: 64,
        sections: [3, 3, 2],
        vision: 128,
        vision_mlp: 512,
        blocks: 4,
        vision_heads: 4,
        patch: PATCH,
        positions: 64,
    };
    config(ids, &sizes)
}

pub(super) fn published(ids: &TokenIds) -> Value {
    let sizes = Sizes {
        vocabulary: VOCABULARY,
        tied: true,
        format: "bfloat16",
        hidden: 1024,
        mlp: 3584,
        layers: 24,
        heads: 8,
        head_dim: 256,
        delta_heads: 16,
        delta_dim: 128,
        sections: [11, 11, 10],
        vision: 768,
        vision_mlp: 3072,
        blocks: 12,
        vision_heads: 12,
        patch: LATER_PATCH,
        positions: 2304,
    };
    config(ids, &sizes)
}
