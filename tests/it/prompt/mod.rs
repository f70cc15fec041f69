//! The prompt room against reference outputs, hostile texts and hostile images.

mod arguments;
mod decoding;
mod forging;
mod goldens;
mod image_input;
mod image_processor;
mod image_settings;
mod image_whole;
mod rendering;
mod templates;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use serde_json::Value;
use vgpo::domain::message::{Content, Message, Part, Role};
use vgpo::model::input::in_time_height_width;
use vgpo::model::{ImageInput, ModelInfo};
use vgpo::prompt::{Processor, PromptLimits};

pub const FAMILIES: [&str; 4] = ["qwen2_vl_tiny", "qwen2_5_vl_tiny", "qwen3_vl_tiny", "qwen3_5_tiny"];
pub const LIMITS: PromptLimits = PromptLimits { min_pixels: None, max_pixels: None, max_prompt_tokens: 4096 };

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join(path)).unwrap()).unwrap()
}

/// The facts that the prompt room needs, read from a checkpoint's `config.json`.
pub fn model_info(config: &Value) -> ModelInfo {
    let vision = &config["vision_config"];
    let number = |v: &Value| usize::try_from(v.as_u64().unwrap()).unwrap();
    let id = |name: &str| u32::try_from(config[name].as_u64().unwrap()).unwrap();
    ModelInfo {
        family: config["model_type"].as_str().unwrap().to_owned(),
        vocab_size: 672,
        hidden_size: 64,
        layers: 3,
        heads: 4,
        max_positions: 4096,
        attention_layers: vec![0, 1, 2],
        image: Some(ImageInput {
            token_id: id("image_token_id"),
            patch_size: number(&vision["patch_size"]),
            merge_size: number(&vision["spatial_merge_size"]),
            temporal_patch_size: vision["temporal_patch_size"].as_u64().map_or(2, |v| v as usize),
            processors: &["Qwen2VLImageProcessor", "Qwen2_5_VLImageProcessor", "Qwen3VLImageProcessor"],
        }),
        placeholders: vec![id("image_token_id"), id("video_token_id")],
        positions: in_time_height_width,
        eos_token_ids: vec![525],
        pad_token_id: 523,
        parameters: 0,
        notes: Vec::new(),
    }
}

pub fn processor(family: &str) -> Processor {
    let dir = fixtures().join("models").join(family).join("checkpoint");
    let info = model_info(&json(dir.join("config.json")));
    Processor::from_dir(&dir, &info).unwrap()
}

pub fn picture(path: impl AsRef<Path>) -> Arc<RgbImage> {
    Arc::new(image::open(fixtures().join(path)).unwrap().into_rgb8())
}

pub fn user(text: &str) -> Message {
    Message { role: Role::User, content: Content::Text(text.to_owned()) }
}

pub fn text_part(text: &str) -> Part {
    Part::Text { text: text.to_owned() }
}

pub fn image_part() -> Part {
    Part::of_image("#0".to_owned())
}
