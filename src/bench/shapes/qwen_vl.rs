//! Configurations of Qwen2.5-VL and Qwen3-VL.

use serde_json::{Value, json};

use super::{LATER_PATCH, PATCH, SMALL_VOCABULARY, TokenIds};

/// Vocabulary of the published checkpoints.
pub(super) const VOCABULARY: usize = 151_936;

/// 6.06 million parameters: text 256 wide, 4 layers, 4 heads (2 for keys and values), MLP 1024; vision 128 wide, 4
/// blocks, 4 heads, MLP 512, windows of 112 pixels, blocks 1 and 3 without windows.
pub(super) fn reference(ids: &TokenIds) -> Value {
    ids.named_in(json!({
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
        "tie_word_embeddings": false, "hidden_act": "silu", "hidden_size": 256, "intermediate_size": 1024,
        "max_position_embeddings": 4096, "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
        "rope_scaling": { "type": "mrope", "mrope_section": [8, 12, 12] },
        "use_sliding_window": false, "torch_dtype": "float32", "vocab_size": SMALL_VOCABULARY,
        "vision_config": {
            "model_type": "qwen2_5_vl", "depth": 4, "hidden_act": "silu", "hidden_size": 128, "intermediate_size": 512,
            "num_heads": 4, "in_chans": 3, "out_hidden_size": 256, "patch_size": PATCH, "spatial_patch_size": PATCH,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2, "window_size": 112,
            "fullatt_block_indexes": [1, 3],
        },
    }))
}

/// Widths and depths of a Qwen2.5-VL model.
struct Sizes {
    hidden: usize,
    mlp: usize,
    layers: usize,
    heads: usize,
    sections: [usize; 3],
    vision: usize,
    vision_mlp: usize,
    blocks: usize,
    vision_heads: usize,
    without_windows: Vec<usize>,
}

fn qwen2_5_vl(ids: &TokenIds, sizes: &Sizes) -> Value {
    ids.named_in(json!({
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
        "tie_word_embeddings": true, "hidden_act": "silu", "hidden_size": sizes.hidden,
        "intermediate_size": sizes.mlp, "max_position_embeddings": 128_000, "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0, "rope_scaling": { "type": "mrope", "mrope_section": sizes.sections },
        "use_sliding_window": false, "torch_dtype": "bfloat16", "vocab_size": VOCABULARY,
        "vision_config": {
            "model_type": "qwen2_5_vl", "depth": sizes.blocks, "hidden_act": "silu", "hidden_size": sizes.vision,
            "intermediate_size": sizes.vision_mlp, "num_heads": sizes.vision_heads, "in_chans": 3,
            "out_hidden_size": sizes.hidden, "patch_size": PATCH, "spatial_patch_size": PATCH,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2, "window_size": 112,
            "fullatt_block_indexes": sizes.without_windows,
        },
    }))
}

pub(super) fn half_billion(ids: &TokenIds) -> Value {
    let sizes = Sizes {
        hidden: 896,
        mlp: 4864,
        layers: 24,
        heads: 14,
        sections: [8, 12, 12],
        vision: 768,
        vision_mlp: 2048,
        blocks: 12,
        vision_heads: 12,
        without_windows: vec![3, 7, 11],
    };
    qwen2_5_vl(ids, &sizes)
}

pub(super) fn three_billion(ids: &TokenIds) -> Value {
    let sizes = Sizes {
        hidden: 2048,
        mlp: 11_008,
        layers: 36,
        heads: 16,
        sections: [16, 24, 24],
        vision: 1280,
        vision_mlp: 3420,
        blocks: 32,
        vision_heads: 16,
        without_windows: vec![7, 15, 23, 31],
    };
    qwen2_5_vl(ids, &sizes)
}

pub(super) fn later_two_billion(ids: &TokenIds) -> Value {
    ids.named_in(json!({
        "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "tie_word_embeddings": true,
        "text_config": {
            "model_type": "qwen3_vl_text", "dtype": "bfloat16", "hidden_act": "silu", "hidden_size": 2048,
            "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
            "head_dim": 128, "attention_bias": false, "max_position_embeddings": 262_144, "rms_norm_eps": 1e-6,
            "rope_theta": 5_000_000, "vocab_size": VOCABULARY, "tie_word_embeddings": true,
            "rope_scaling": { "rope_type": "default", "mrope_interleaved": true, "mrope_section": [24, 20, 20] },
        },
        "vision_config": {
            "model_type": "qwen3_vl", "depth": 24, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 1024,
            "intermediate_size": 4096, "num_heads": 16, "in_channels": 3, "out_hidden_size": 2048,
            "patch_size": LATER_PATCH, "spatial_merge_size": 2, "temporal_patch_size": 2,
            "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17],
        },
    }))
}
