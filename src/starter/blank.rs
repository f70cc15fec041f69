//! An empty model folder in Qwen2.5-VL's layout: configuration, tokenizer, random weights.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::checkpoints::MAX_SHARD_BYTES;
use crate::data::digits::DigitsTask;
use crate::model;

use super::recipe::Recipe;
use super::tokenizer::{self, special_id};
use crate::train::error::{TrainError, file_error};

/// Rows that the vocabulary is collected from; every word of the task occurs many times in them.
const VOCABULARY_ROWS: u64 = 4000;
/// Side of a patch: a digit's cell of 28 px is 2 x 2 image tokens, so that attention maps show more than a quarter.
const PATCH: usize = 7;

fn config(vocabulary: usize, words: usize) -> Value {
    let vision = json!({
        "model_type": "qwen2_5_vl", "depth": 3, "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 160,
        "num_heads": 4, "in_chans": 3, "out_hidden_size": 128, "patch_size": PATCH, "spatial_patch_size": PATCH,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2, "window_size": 112,
        "fullatt_block_indexes": [0, 1, 2],
    });
    let tokens = json!({
        "bos_token_id": special_id(words, "<|endoftext|>"), "eos_token_id": special_id(words, "<|im_end|>"),
        "pad_token_id": special_id(words, "<|endoftext|>"), "image_token_id": special_id(words, "<|image_pad|>"),
        "video_token_id": special_id(words, "<|video_pad|>"),
        "vision_start_token_id": special_id(words, "<|vision_start|>"),
        "vision_end_token_id": special_id(words, "<|vision_end|>"),
    });
    let mut all = json!({
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
        "tie_word_embeddings": true, "hidden_act": "silu", "hidden_size": 128, "intermediate_size": 384,
        "initializer_range": 0.02, "max_position_embeddings": 1024, "max_window_layers": 4,
        "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "rope_scaling": { "type": "mrope", "mrope_section": [4, 6, 6] },
        "sliding_window": 1024, "use_sliding_window": false, "use_cache": true, "attention_dropout": 0.0,
        "torch_dtype": "float32", "vocab_size": vocabulary, "vision_config": vision,
    });
    if let (Some(all), Some(tokens)) = (all.as_object_mut(), tokens.as_object()) {
        all.extend(tokens.clone());
    }
    all
}

fn preprocessor() -> Value {
    json!({
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor",
        "patch_size": PATCH, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 784, "max_pixels": 4704,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    })
}

/// Writes the folder.
pub fn write(dir: &Path, recipe: &Recipe, task: &DigitsTask) -> Result<(), TrainError> {
    std::fs::create_dir_all(dir).map_err(file_error(dir))?;
    let mut texts = Vec::new();
    for row in 0..VOCABULARY_ROWS {
        let example = task.forgetful(row)?;
        texts.push(example.prompt);
        texts.extend(example.demonstration);
    }
    let words = tokenizer::vocabulary(texts.iter().map(String::as_str));
    tokenizer::write(dir, &words)?;
    // Rows beyond the tokenizer's ids keep matrix sizes even; they are never produced.
    let vocabulary = (words.len() + tokenizer::SPECIAL.len()).next_multiple_of(8);
    let end = special_id(words.len(), "<|im_end|>");
    let pad = special_id(words.len(), "<|endoftext|>");
    let files = [
        ("preprocessor_config.json", preprocessor()),
        ("generation_config.json", json!({ "bos_token_id": pad, "eos_token_id": [end, pad], "pad_token_id": pad })),
    ];
    for (name, value) in files {
        let path = dir.join(name);
        std::fs::write(&path, format!("{value:#}\n")).map_err(file_error(&path))?;
    }
    Ok(model::write_blank(dir, &config(vocabulary, words.len()), recipe.seed, MAX_SHARD_BYTES)?)
}
