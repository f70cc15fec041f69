//! Models to measure: random weights from a fixed seed, with a tokenizer and a data set of noise, all generated.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use serde_json::json;

use super::BenchError;
use super::shape::BatchShape;
use super::shapes::{ModelShape, TokenIds};
use crate::config::checkpoints::MAX_SHARD_BYTES;
use crate::data::{DataError, Dataset, Example, Split};
use crate::model::sampler::{stream, uniform};
use crate::model::{write_blank, write_random};
use crate::starter::tokenizer;

/// Seed of the random weights.
const WEIGHTS_SEED: u64 = 1;
/// Stream id of images.
const IMAGES_SEED: u64 = 4;
/// Rows of the embedding that are no words of [`word`]: roles, digits, line breaks, control tokens and some to spare.
const OTHER_ROWS: usize = 48;
/// Words of the smallest shape, of which questions are made.
const WORDS: usize = 976;
/// Words of three letters.
const SHORT_WORDS: usize = 26 * 26 * 26;
/// Tokens of the chat layout around a prompt's image and text.
const LAYOUT_TOKENS: usize = 10;
/// Side of a patch in pixels.
const PATCH: usize = 14;
/// Patches per side that make one image token.
const MERGE: usize = 2;

/// The `index`-th word: of three letters, then of four.
fn word(index: usize) -> String {
    let letter = |at: usize| char::from(b'a' + (index / 26_usize.pow(at as u32) % 26) as u8);
    let places: &[usize] = if index < SHORT_WORDS { &[2, 1, 0] } else { &[3, 2, 1, 0] };
    places.iter().map(|at| letter(*at)).collect()
}

/// Writes a model of this shape, a whole Hugging Face folder, into `dir`.
pub fn write_model(dir: &Path, shape: &ModelShape) -> Result<(), BenchError> {
    let cannot = |path: &Path| {
        let path = path.display().to_string();
        move |source| BenchError::File { path, source }
    };
    std::fs::create_dir_all(dir).map_err(cannot(dir))?;
    let text: Vec<String> = (0..shape.vocabulary - OTHER_ROWS).map(|index| format!(" {}", word(index))).collect();
    let words = tokenizer::vocabulary(text.iter().map(String::as_str));
    tokenizer::write(dir, &words)?;
    // At most one picture of a megapixel.
    let side = shape.patch * MERGE;
    let preprocessor = json!({
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": shape.processor,
        "patch_size": shape.patch, "merge_size": MERGE, "temporal_patch_size": 2, "min_pixels": side * side,
        "max_pixels": side * side * 1280, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    });
    let path = dir.join("preprocessor_config.json");
    std::fs::write(&path, format!("{preprocessor:#}\n")).map_err(cannot(&path))?;
    let config = (shape.config)(&TokenIds(words.len()));
    let write = if shape.streamed { write_random } else { write_blank };
    Ok(write(dir, &config, WEIGHTS_SEED, MAX_SHARD_BYTES)?)
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
