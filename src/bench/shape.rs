//! Batch shapes to measure, with synthetic rows.

use std::sync::Arc;

use serde::Serialize;

use super::BenchError;
use crate::model::sampler::{stream, uniform};
use crate::model::{Grid, ImagePatches, ModelInfo, Sequence};

/// Seed of the synthetic rows.
const ROWS_SEED: u64 = 2;
/// A batch of synthetic rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BatchShape {
    /// Prompts, each with its own image.
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

    /// The prompts: the image, then synthetic text.
    pub fn prompts(&self, info: &ModelInfo) -> Result<Vec<Sequence>, BenchError> {
        let grid = Grid { time: 1, height: self.image_patches, width: self.image_patches };
        let input = info.image_input()?;
        let image_tokens = grid.merged(input.merge_size);
        if image_tokens >= self.prompt_tokens {
            return Err(BenchError::Settings(format!(
                "an image of {0} x {0} patches has {image_tokens} tokens, which do not fit into a prompt of {1}",
                self.image_patches, self.prompt_tokens
            )));
        }
        let mut rng = stream(&[ROWS_SEED]);
        let values = grid.patches() * input.patch_values();
        let prompt = |_| {
            let image = || ImagePatches { values: (0..values).map(|_| uniform(&mut rng) as f32 - 0.5).collect(), grid };
            let images = if image_tokens == 0 { Vec::new() } else { vec![Arc::new({ image }())] };
            let mut ids = vec![input.token_id; image_tokens];
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

/// Tokens that are not placeholders.
fn text(count: usize, info: &ModelInfo, rng: &mut rand_chacha::ChaCha8Rng) -> Vec<u32> {
    let words: Vec<u32> = (0..info.vocab_size as u32).filter(|id| !info.placeholders.contains(id)).collect();
    (0..count).map(|_| words[(uniform(rng) * words.len() as f64) as usize]).collect()
}
