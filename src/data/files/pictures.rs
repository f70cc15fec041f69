//! The images of one row, bounded together.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use image::RgbImage;

use super::cell::Cell;
use super::file_finder::{ImageContext, Witness};
use crate::images::{self, ImageLimits};

/// Lists of images inside lists are flattened this deep.
const DEPTH: usize = 4;
/// How files of images begin when they are written in base64, as tables hold them.
const BASE64_BEGINNINGS: [&str; 5] = ["/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "Qk0"];
/// Shorter texts are names of files.
const SHORTEST_BASE64: usize = 64;

/// Collects the images of a row.
pub(super) struct Pictures<'a, 'w> {
    context: &'a ImageContext<'a>,
    witness: Witness<'w>,
    images: Vec<Arc<RgbImage>>,
    pixels: u64,
}

impl<'a, 'w> Pictures<'a, 'w> {
    pub(super) fn new(context: &'a ImageContext<'a>, witness: Witness<'w>) -> Self {
        Self { context, witness, images: Vec::new(), pixels: 0 }
    }

    pub(super) fn finish(self) -> Vec<Arc<RgbImage>> {
        self.images
    }

    /// Appends the images of a cell: one image, or a list of them.
    pub(super) fn collect(&mut self, cell: &Cell) -> Result<(), String> {
        self.nested(cell, 0)
    }

    fn nested(&mut self, cell: &Cell, depth: usize) -> Result<(), String> {
        match cell {
            blank if blank.is_blank() => Ok(()),
            Cell::List(items) if depth < DEPTH => items.iter().try_for_each(|item| self.nested(item, depth + 1)),
            one => {
                let (number, most) = (self.images.len() + 1, self.context.limits.row_images);
                if number as u64 > most {
                    return Err(format!("holds more than {most} images, which is the limit for one row"));
                }
                let image = self.image(one).map_err(|problem| format!("image {number}: {problem}"))?;
                self.images.push(Arc::new(image));
                Ok(())
            }
        }
    }

    fn image(&mut self, cell: &Cell) -> Result<RgbImage, String> {
        match cell {
            Cell::Bytes(bytes) => self.decode(bytes),
            Cell::Text(url) if url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) => {
                self.decode(&images::data_url(url).map_err(|e| e.to_string())?)
            }
            Cell::Text(url) if url.contains("://") => {
                let shown: String = url.chars().take(60).collect();
                Err(format!("`{shown}` is an address; nothing is fetched: send the image file along, or a data URL"))
            }
            Cell::Text(text) if is_base64(text) => self.decode(&from_base64(text)?),
            Cell::Text(path) => {
                let path = self.context.finder.find(self.context.file, path.trim())?;
                let bytes = read(&path, self.context.limits.image_bytes)?;
                (self.witness)(&path, &bytes);
                self.decode(&bytes)
            }
            Cell::Record(_) => match (cell.get("bytes"), cell.get("path").or_else(|| cell.get("url"))) {
                (Some(bytes @ Cell::Bytes(_)), _) if !bytes.is_blank() => self.image(bytes),
                (Some(Cell::Text(base64)), _) if !base64.trim().is_empty() => self.decode(&from_base64(base64)?),
                (_, Some(path @ Cell::Text(_))) => self.image(path),
                _ => Err("the object has neither `bytes` nor `path`".to_owned()),
            },
            other => Err(format!("is {}; a path, a data URL or {{\"bytes\", \"path\"}} is needed", other.kind())),
        }
    }

    /// Decodes a file if all pictures of the row stay within the limit of pixels, judged by their headers.
    fn decode(&mut self, bytes: &[u8]) -> Result<RgbImage, String> {
        let limits = &self.context.limits;
        let one = ImageLimits { max_bytes: limits.image_bytes as usize, max_pixels: limits.image_pixels };
        let told = |e: images::ImageError| e.to_string().trim_start_matches("image: ").to_owned();
        self.pixels += images::count_pixels(bytes, &one).map_err(told)?;
        if self.pixels > limits.image_pixels {
            return Err(format!(
                "the images of the row have {} pixels so far, the limit (max_image_pixels) is {}: keep fewer or \
                 smaller images in a row",
                self.pixels, limits.image_pixels
            ));
        }
        images::decode_image(bytes, &one).map_err(told)
    }
}

fn is_base64(text: &str) -> bool {
    text.len() >= SHORTEST_BASE64 && BASE64_BEGINNINGS.iter().any(|begin| text.starts_with(begin))
}

fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    let text: String = text.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(text).map_err(|e| format!("`bytes` is not valid base64: {e}"))
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let fault = |e: std::io::Error| format!("cannot be read: {e}");
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to tell that it is too much.
    std::fs::File::open(path).map_err(fault)?.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(fault)?;
    Ok(bytes)
}
