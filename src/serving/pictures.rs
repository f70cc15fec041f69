//! The images of a request: their JSON pointers and pixels.

use std::sync::Arc;

use image::RgbImage;

use super::ServingError;
use super::model::ServedModel;
use crate::config::serving::EngineLimits;
use crate::domain::message::{AreaLimits, Content, Message, Part};
use crate::prompt::{ImageLimits, count_pixels, data_url, decode_image};

/// An image of a request.
pub struct ImageAddress {
    /// Its JSON pointer in the request.
    pub pointer: String,
    /// Where its pixels come from.
    pub url: String,
    /// Limits for resizing it.
    pub area: AreaLimits,
}

/// The images of messages, in order.
pub fn image_parts(messages: &[Message]) -> Vec<ImageAddress> {
    let mut images = Vec::new();
    for (m, message) in messages.iter().enumerate() {
        let Content::Parts(parts) = &message.content else { continue };
        for (p, part) in parts.iter().enumerate() {
            if let Some(url) = part.image() {
                let field = if matches!(part, Part::Image { .. }) { "image" } else { "image_url/url" };
                let pointer = format!("/messages/{m}/content/{p}/{field}");
                images.push(ImageAddress { pointer, url: url.to_owned(), area: part.area_limits() });
            }
        }
    }
    images
}

/// The pixels of every image. All headers are checked before the first image is decoded: images in small files may have
/// gigabytes of pixels.
pub fn read_images(
    images: &[ImageAddress],
    served: &ServedModel,
    limits: &EngineLimits,
) -> Result<Vec<Arc<RgbImage>>, ServingError> {
    let image_limits = ImageLimits { max_bytes: limits.image_bytes, max_pixels: limits.image_pixels };
    let mut files = Vec::with_capacity(images.len());
    let mut total = 0;
    for ImageAddress { pointer, url, area } in images {
        let fault = |e| ServingError::of_prompt(&e, pointer, &served.id);
        let bytes = data_url(url).map_err(fault)?;
        total += count_pixels(&bytes, &image_limits).map_err(fault)?;
        if total > limits.image_pixels {
            let (count, max) = (files.len() + 1, limits.image_pixels);
            return Err(ServingError::field(
                pointer,
                format!(
                    "the first {count} images have {total} pixels together, the limit (max_image_pixels) is {max}: \
                     send smaller or fewer images"
                ),
            ));
        }
        files.push((pointer, *area, bytes));
    }
    let prompt = &served.card.prompt;
    let usual = AreaLimits { min_pixels: prompt.min_pixels, max_pixels: prompt.max_pixels };
    let read = |(pointer, area, bytes): (&String, AreaLimits, Vec<u8>)| {
        let fault = |e| ServingError::of_prompt(&e, pointer, &served.id);
        let image = decode_image(&bytes, &image_limits).map_err(fault)?;
        let (width, height) = image.dimensions();
        // Checked for each image separately, so that the error names the image.
        let sizes = served.processor.image_processor().map_err(fault)?;
        let AreaLimits { min_pixels, max_pixels } = area.over(usual);
        sizes.target_size(width, height, min_pixels, max_pixels).map_err(fault)?;
        Ok(Arc::new(image))
    };
    files.into_iter().map(read).collect()
}
