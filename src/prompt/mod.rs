//! From messages and images to model inputs: tokenizer, chat template, image processor.
//!
//! [`Processor`] is the entry point: it renders messages with a checkpoint's own chat template, tokenizes them so that
//! special tokens in user text stay plain text, resizes images and splits them into patches, and expands each image's
//! placeholder.

mod bounded;
mod chat_template;
mod decoder;
mod error;
mod files;
mod image_input;
mod image_processor;
mod image_settings;
mod masking;
mod permitted;
mod processor;
mod resize;
mod row_prompt;
mod template_budget;
mod template_checks;
mod template_environment;
mod template_json;
mod template_methods;
mod tokenizer;

use std::sync::Arc;

use crate::model::ImagePatches;

pub use decoder::Decoder;
pub use error::PromptError;
pub use image_input::{ImageLimits, count_pixels, data_url, decode_image};
pub use image_processor::{ImageProcessor, TargetSize, smart_resize, usual_size, usual_sizes};
pub use processor::{Processor, PromptLimits};
pub use resize::{Filter, resize, resize_bicubic};
pub use row_prompt::{PromptTemplate, messages_for};
pub use tokenizer::TextTokenizer;

/// A prompt, ready for the model.
#[derive(Debug, Clone)]
pub struct RenderedPrompt {
    /// The text after the chat template, one placeholder per image.
    pub text: String,
    /// Token ids, placeholders expanded to one id per merged image token.
    pub ids: Vec<u32>,
    /// The images, in order.
    pub images: Vec<Arc<ImagePatches>>,
    /// The positions of each image's tokens and how they map to pixels.
    pub layout: Vec<ImageLayout>,
    /// The beginning of the response that the chat template wrote, e.g. `<think>`: rewards read it, and demonstrations
    /// repeat it.
    pub opened: String,
}

impl RenderedPrompt {
    /// A demonstration without the part that is already in the prompt. White space may differ.
    pub fn continuation<'a>(&self, demonstration: &'a str) -> &'a str {
        let mut rest = demonstration;
        for word in self.opened.split_whitespace() {
            match rest.trim_start().strip_prefix(word) {
                Some(after) => rest = after,
                None => return demonstration,
            }
        }
        if self.opened.ends_with(char::is_whitespace) { rest.trim_start() } else { rest }
    }
}

/// The tokens of one image in a prompt, and the corresponding pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLayout {
    /// Position of its first token in the prompt.
    pub start: usize,
    /// Rows of merged tokens.
    pub rows: usize,
    /// Columns of merged tokens.
    pub cols: usize,
    /// Width and height of the original image.
    pub original: (u32, u32),
    /// Width and height after resizing.
    pub processed: (u32, u32),
    /// Side of one merged token's cell, in processed pixels.
    pub cell_px: u32,
}
