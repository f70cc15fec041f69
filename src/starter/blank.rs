//! An empty model folder: configuration, tokenizer, random weights.

use std::path::Path;

use serde_json::json;

use crate::config::checkpoints::MAX_SHARD_BYTES;
use crate::model;

use super::lesson::Lesson;
use super::recipe::Recipe;
use super::tokenizer::{self, special_id};
use crate::train::error::{TrainError, file_error};

/// Writes the folder.
pub fn write(dir: &Path, recipe: &Recipe, lesson: &Lesson) -> Result<(), TrainError> {
    std::fs::create_dir_all(dir).map_err(file_error(dir))?;
    let texts = lesson.texts()?;
    let words = tokenizer::vocabulary(texts.iter().map(String::as_str));
    tokenizer::write(dir, &words)?;
    // Rows beyond the tokenizer's ids keep matrix sizes even; they are never produced.
    let vocabulary = (words.len() + tokenizer::SPECIAL.len()).next_multiple_of(8);
    let end = special_id(words.len(), "<|im_end|>");
    let pad = special_id(words.len(), "<|endoftext|>");
    let files = [
        ("preprocessor_config.json", recipe.family.preprocessor(lesson.picture())),
        ("generation_config.json", json!({ "bos_token_id": pad, "eos_token_id": [end, pad], "pad_token_id": pad })),
    ];
    for (name, value) in files {
        let path = dir.join(name);
        std::fs::write(&path, format!("{value:#}\n")).map_err(file_error(&path))?;
    }
    Ok(model::write_blank(
        dir,
        &recipe.family.config(lesson.picture(), vocabulary, words.len()),
        recipe.seed,
        MAX_SHARD_BYTES,
    )?)
}
