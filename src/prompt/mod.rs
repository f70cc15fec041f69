//! From messages and images to model inputs: tokenizer, chat template, image processor.

use std::sync::Arc;

use crate::model::ImagePatches;

/// A prompt, ready for the model.
#[derive(Debug, Clone)]
pub struct RenderedPrompt {
    /// The text after the chat template, one placeholder per image.
    pub text: String,
    /// Token ids, placeholders expanded to one id per merged image token.
    pub ids: Vec<u32>,
    /// The images, in order.
    pub images: Vec<Arc<ImagePatches>>,
    /// Where each image's tokens stand and how they map to pixels.
    pub layout: Vec<ImageLayout>,
}

/// How one image lies in a prompt and in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLayout {
    /// First column of its tokens in the prompt.
    pub start: usize,
    /// Rows of merged tokens.
    pub rows: usize,
    /// Columns of merged tokens.
    pub cols: usize,
    /// Width and height of the image as it came.
    pub original: (u32, u32),
    /// Width and height after resizing.
    pub processed: (u32, u32),
    /// Side of one merged token's cell, in processed pixels.
    pub cell_px: u32,
}
