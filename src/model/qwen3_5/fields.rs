//! Every setting of `config.json` that Qwen3.5 knows.

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
        "language_model_only",
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
        "linear_num_key_heads",
        "linear_num_value_heads",
        "linear_key_head_dim",
        "linear_value_head_dim",
        "linear_conv_kernel_dim",
        "layer_types",
        "full_attention_interval",
        "rms_norm_eps",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "partial_rotary_factor",
        "max_position_embeddings",
        "original_max_position_embeddings",
        "tie_word_embeddings",
        "model_type",
        "quantization_config",
        // Of the heads that draft tokens: this program carries their weights along.
        "mtp_num_hidden_layers",
        "mtp_use_dedicated_embeddings",
        "mlp_only_layers",
    ],
    fixed: &[
        ("hidden_act", Must::Text(&["silu", "swish"])),
        ("attention_bias", Must::Switch(false)),
        ("attention_dropout", Must::Number(0.0)),
        ("attn_output_gate", Must::Switch(true)),
        ("output_gate_type", Must::Text(&["swish", "silu"])),
        ("mamba_ssm_dtype", Must::Text(&["float32"])),
        ("use_sliding_window", Must::Switch(false)),
    ],
};
