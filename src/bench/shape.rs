//! The shapes that are measured: a reference model with random weights, made on the spot, and batches of made-up rows.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::BenchError;
use crate::config::checkpoints::MAX_SHARD_BYTES;
use crate::model::sampler::{stream, uniform};
use crate::model::{Grid, ImagePatches, ModelInfo, Sequence, write_blank};

/// Seed of the random weights.
const WEIGHTS_SEED: u64 = 1;
/// Seed of the made-up rows.
const ROWS_SEED: u64 = 2;
/// Ids from here up are special tokens of the reference model.
const SPECIAL: u64 = 1000;

/// Qwen2.5-VL with 6.06 million parameters: text 256 wide, 4 layers, 4 heads (2 for keys and values), MLP 1024, vocabulary 1024;
/// vision 128 wide, 4 blocks, 4 heads, MLP 512, windows of 112 pixels, blocks 1 and 3 without windows.
///
/// The end token is the placeholder of videos, which is never sampled: every response is as long as it may be.
pub fn reference_config() -> Value {
    json!({
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
        "tie_word_embeddings": false, "hidden_act": "silu", "hidden_size": 256, "intermediate_size": 1024,
        "max_position_embeddings": 4096, "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
        "rope_scaling": { "type": "mrope", "mrope_section": [8, 12, 12] },
        "use_sliding_window": false, "torch_dtype": "float32", "vocab_size": 1024,
        "bos_token_id": SPECIAL, "eos_token_id": SPECIAL + 2, "pad_token_id": SPECIAL,
        "image_token_id": SPECIAL + 1, "video_token_id": SPECIAL + 2,
        "vision_start_token_id": SPECIAL + 3, "vision_end_token_id": SPECIAL + 4,
        "vision_config": {
            "model_type": "qwen2_5_vl", "depth": 4, "hidden_act": "silu", "hidden_size": 128, "intermediate_size": 512,
            "num_heads": 4, "in_chans": 3, "out_hidden_size": 256, "patch_size": 14, "spatial_patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2, "window_size": 112,
            "fullatt_block_indexes": [1, 3],
        },
    })
}

/// Writes the reference model into a folder, which must exist.
pub fn write_reference(dir: &Path) -> Result<(), BenchError> {
    Ok(write_blank(dir, &reference_config(), WEIGHTS_SEED, MAX_SHARD_BYTES)?)
}

/// A batch of made-up rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BatchShape {
    /// Prompts, each with an image of its own.
    pub groups: usize,
    /// Responses of a prompt.
    pub group_size: usize,
    /// Tokens of a prompt, its image included.
    pub prompt_tokens: usize,
    /// Tokens of a response.
    pub response_tokens: usize,
    /// Side of the image in patches; 0: no image.
    pub image_patches: usize,
}

impl BatchShape {
    /// Responses of all prompts.
    pub fn responses(&self) -> usize {
        self.groups * self.group_size
    }

    /// Tokens of all rows, each with its prompt.
    pub fn tokens(&self) -> usize {
        self.responses() * (self.prompt_tokens + self.response_tokens)
    }

    /// The prompts: the image, then made-up text.
    pub fn prompts(&self, info: &ModelInfo) -> Result<Vec<Sequence>, BenchError> {
        let grid = Grid { time: 1, height: self.image_patches, width: self.image_patches };
        let image_tokens = grid.merged(info.merge_size);
        if image_tokens >= self.prompt_tokens {
            return Err(BenchError::Settings(format!(
                "an image of {0} x {0} patches makes {image_tokens} tokens: a prompt of {1} has no room for them",
                self.image_patches, self.prompt_tokens
            )));
        }
        let mut rng = stream(&[ROWS_SEED]);
        let values = grid.patches() * 3 * info.temporal_patch_size * info.patch_size * info.patch_size;
        let prompt = |_| {
            let image = || ImagePatches { values: (0..values).map(|_| uniform(&mut rng) as f32 - 0.5).collect(), grid };
            let images = if image_tokens == 0 { Vec::new() } else { vec![Arc::new({ image }())] };
            let mut ids = vec![info.image_token_id; image_tokens];
            ids.extend(text(self.prompt_tokens - image_tokens, info, &mut rng));
            Sequence { ids, images }
        };
        Ok((0..self.groups).map(prompt).collect())
    }

    /// Every row, prompt and response in one; rows of a group share their image.
    pub fn rows(&self, info: &ModelInfo) -> Result<Vec<Sequence>, BenchError> {
        let mut rng = stream(&[ROWS_SEED, 1]);
        let mut rows = Vec::with_capacity(self.responses());
        for prompt in self.prompts(info)? {
            for _ in 0..self.group_size {
                let mut row = prompt.clone();
                row.ids.extend(text(self.response_tokens, info, &mut rng));
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

/// Tokens that are no placeholder.
fn text(count: usize, info: &ModelInfo, rng: &mut rand_chacha::ChaCha8Rng) -> Vec<u32> {
    let words: Vec<u32> =
        (0..info.vocab_size as u32).filter(|id| ![info.image_token_id, info.video_token_id].contains(id)).collect();
    (0..count).map(|_| words[(uniform(rng) * words.len() as f64) as usize]).collect()
}
