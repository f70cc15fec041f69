//! Every setting of `config.json` that the Qwen-VL families know.

use crate::model::settings::fields::{Must, Part};

/// The whole file.
pub(super) const TOP: Part = Part {
    read: &[
        "model_type",
        "text_config",
        "vision_config",
        "image_token_id",
        "video_token_id",
        "tie_word_embeddings",
        "quantization_config",
        "compression_config",
        "quantization",
    ],
    fixed: &[("transformers_weights", Must::Text(&["model.safetensors"]))],
};

/// The decoder.
pub(super) const TEXT: Part = Part {
    read: &[
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "rms_norm_eps",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "max_position_embeddings",
        "original_max_position_embeddings",
        "tie_word_embeddings",
        "layer_types",
        "model_type",
        "quantization_config",
        "attention_bias",
    ],
    fixed: &[
        ("hidden_act", Must::Text(&["silu", "swish"])),
        ("use_sliding_window", Must::Switch(false)),
        ("attention_dropout", Must::Number(0.0)),
    ],
};

/// The vision tower.
pub(in crate::model) const VISION: Part = Part {
    read: &[
        "depth",
        "hidden_size",
        "embed_dim",
        "mlp_ratio",
        "intermediate_size",
        "num_heads",
        "patch_size",
        "spatial_patch_size",
        "spatial_merge_size",
        "temporal_patch_size",
        "out_hidden_size",
        "window_size",
        "fullatt_block_indexes",
        "num_position_embeddings",
        "deepstack_visual_indexes",
        "hidden_act",
        "rope_parameters",
        "num_attention_heads",
        "num_hidden_layers",
        "head_dim",
        "model_type",
        "quantization_config",
    ],
    fixed: &[
        ("in_channels", Must::Number(3.0)),
        ("in_chans", Must::Number(3.0)),
        ("rope_theta", Must::Number(10_000.0)),
    ],
};

/// The decoder's settings that are read.
pub(super) fn read_by_decoder() -> &'static [&'static str] {
    TEXT.read
}
