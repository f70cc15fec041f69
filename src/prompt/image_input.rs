//! Images of messages, with the errors of this room.

use image::RgbImage;

use super::PromptError;
use crate::images::{self, ImageError};

pub use crate::images::ImageLimits;

/// [`images::decode_image`] for a message's image.
pub fn decode_image(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, PromptError> {
    Ok(images::decode_image(bytes, limits)?)
}

/// [`images::count_pixels`] for a message's image.
pub fn count_pixels(bytes: &[u8], limits: &ImageLimits) -> Result<u64, PromptError> {
    Ok(images::count_pixels(bytes, limits)?)
}

/// [`images::data_url`] for a message's image.
pub fn data_url(url: &str) -> Result<Vec<u8>, PromptError> {
    Ok(images::data_url(url)?)
}

impl From<ImageError> for PromptError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Image(problem) => Self::Image(problem),
            ImageError::DataUrl(problem) => Self::DataUrl(problem),
        }
    }
}
