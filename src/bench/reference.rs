//! The reference model: random weights from a fixed seed, with a tokenizer and a data set of noise, all generated.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use serde_json::{Value, json};

use super::BenchError;
use super::shape::BatchShape;
use crate::config::checkpoints::MAX_SHARD_BYTES;
use crate::data::{DataError, Dataset, Example, Split};
use crate::model::sampler::{stream, uniform};
use crate::model::write_blank;
use crate::starter::tokenizer::{self, special_id};

/// Seed of the random weights.
const WEIGHTS_SEED: u64 = 1;
/// Stream id of images.
const IMAGES_SEED: u64 = 4;
/// Words of three letters; with roles, digits and line breaks there are 1000 pieces.
const WORDS: usize = 976;
/// Tokens of the chat layout around a prompt's image and text.
const LAYOUT_TOKENS: usize = 10;
/// Side of a patch in pixels.
const PATCH: usize = 14;
/// Patches per side that make one image token.
const MERGE: usize = 2;

/// The `index`-th word.
fn word(index: usize) -> String {
    let letter = |at: usize| char::from(b'a' + (index / 26_usize.pow(at as u32) % 26) as u8);
    [2, 1, 0].map(letter).iter().collect()
}

/// Qwen2.5-VL with 6.06 million parameters: text 256 wide, 4 layers, 4 heads (2 for keys and values), MLP 1024,
/// vocabulary 1024; vision 128 wide, 4 blocks, 4 heads, MLP 512, windows of 112 pixels, blocks 1 and 3 without windows.
///
/// The end token is the placeholder of videos, which is never sampled, so every response has the maximum length.
fn config(words: usize) -> Value {
    let id = |name| special_id(words, name);
    json!({
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
        "tie_word_embeddings": false, "hidden_act": "silu", "hidden_size": 256, "intermediate_size": 1024,
        "max_position_embeddings": 4096, "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
        "rope_scaling": { "type": "mrope", "mrope_section": [8, 12, 12] },
        "use_sliding_window": false, "torch_dtype": "float32", "vocab_size": 1024,
        "bos_token_id": id("<|endoftext|>"), "eos_token_id": id("<|video_pad|>"), "pad_token_id": id("<|endoftext|>"),
        "image_token_id": id("<|image_pad|>"), "video_token_id": id("<|video_pad|>"),
        "vision_start_token_id": id("<|vision_start|>"), "vision_end_token_id": id("<|vision_end|>"),
        "vision_config": {
            "model_type": "qwen2_5_vl", "depth": 4, "hidden_act": "silu", "hidden_size": 128, "intermediate_size": 512,
            "num_heads": 4, "in_chans": 3, "out_hidden_size": 256, "patch_size": PATCH, "spatial_patch_size": PATCH,
            "spatial_merge_size": MERGE, "temporal_patch_size": 2, "tokens_per_second": 2, "window_size": 112,
            "fullatt_block_indexes": [1, 3],
        },
    })
}

/// Writes the reference model, a whole Hugging Face folder, into `dir`, which must exist.
pub fn write_reference(dir: &Path) -> Result<(), BenchError> {
    let text: Vec<String> = (0..WORDS).map(|index| format!(" {}", word(index))).collect();
    let words = tokenizer::vocabulary(text.iter().map(String::as_str));
    tokenizer::write(dir, &words)?;
    let preprocessor = json!({
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor",
        "patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": 2, "min_pixels": 784, "max_pixels": 1_003_520,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    });
    let path = dir.join("preprocessor_config.json");
    std::fs::write(&path, format!("{preprocessor:#}\n"))
        .map_err(|source| BenchError::File { path: path.display().to_string(), source })?;
    Ok(write_blank(dir, &config(words.len()), WEIGHTS_SEED, MAX_SHARD_BYTES)?)
}

/// A square picture of noise with this number of patches per side.
pub fn noise(patches: usize, index: u64) -> RgbImage {
    let side = (patches * PATCH) as u32;
    let mut rng = stream(&[IMAGES_SEED, index]);
    RgbImage::from_fn(side, side, |_, _| image::Rgb([(); 3].map(|()| (uniform(&mut rng) * 256.0) as u8)))
}

/// The text of prompt `index`: with its image it has the number of tokens that the shape asks for.
pub fn question(batch: &BatchShape, index: u64) -> String {
    let image_tokens = (batch.image_patches / MERGE).pow(2);
    let count = batch.prompt_tokens.saturating_sub(LAYOUT_TOKENS + image_tokens).max(1);
    (0..count).flat_map(|at| [" ".to_owned(), word((index as usize + at) % WORDS)]).collect()
}

/// Rows of noise for the reference model; none held out.
pub struct NoiseDataset(BatchShape);

impl NoiseDataset {
    /// Rows whose prompts have this shape.
    pub fn new(batch: &BatchShape) -> Self {
        Self(*batch)
    }
}

impl Dataset for NoiseDataset {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn len(&self, split: Split) -> u64 {
        if split == Split::Train { crate::data::TRAIN_ROWS } else { 0 }
    }

    fn example(&self, _: Split, index: u64) -> Result<Example, DataError> {
        let images =
            if self.0.image_patches == 0 { Vec::new() } else { vec![Arc::new(noise(self.0.image_patches, index))] };
        let (prompt, answer) = (question(&self.0, index), "0".to_owned());
        Ok(Example {
            index,
            prompt,
            answers: vec![answer],
            images,
            demonstration: None,
            tags: Vec::new(),
            system: None,
            source: None,
        })
    }

    fn fingerprint(&self) -> String {
        "noise".to_owned()
    }
}
