//! Decodes untrusted image files, with sizes checked before anything is decoded; encodes PNG.

mod filled;
mod jpeg;
mod png;
mod tiff;
mod webp;
mod white;

use std::borrow::Cow;
use std::io::Cursor;

use base64::Engine;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

/// An unusable image or image URL; the text names value, limit and solution.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The image itself.
    #[error("image: {0}")]
    Image(String),
    /// A `data:` URL.
    #[error("image URL: {0}")]
    DataUrl(String),
}

/// How large an image may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Bytes of the file.
    pub max_bytes: usize,
    /// Width times height, read from the file's header.
    pub max_pixels: u64,
}

/// Decodes a PNG, JPEG, WebP, GIF (first frame), BMP or TIFF file to RGB.
///
/// Transparent images are drawn on white, grey becomes RGB, EXIF rotation is applied. A file over the limits is
/// rejected by its header, before memory is allocated for its pixels; one that ends early, or contains zeros instead of
/// data, is rejected as damaged. The latter cannot be detected in uncompressed BMP and TIFF files.
pub fn decode_image(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    let file = Picture::new(bytes, limits)?;
    let mut decoder = file.decoder(limits)?;
    let orientation = decoder.orientation().map_err(|e| unreadable(&e))?;
    let picture = DynamicImage::from_decoder(decoder).map_err(|e| unreadable(&e))?;
    file.check_whole()?;
    let mut picture = DynamicImage::from(white::lay(picture));
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// Width times height of an image file, read from its header, with the checks of [`decode_image`].
pub fn count_pixels(bytes: &[u8], limits: &ImageLimits) -> Result<u64, ImageError> {
    Picture::new(bytes, limits)?.decoder(limits).map(|decoder| pixels(&decoder))
}

fn pixels(decoder: &impl ImageDecoder) -> u64 {
    let (width, height) = decoder.dimensions();
    u64::from(width) * u64::from(height)
}

fn unreadable(error: &dyn std::fmt::Display) -> ImageError {
    ImageError::Image(format!("cannot be decoded: {error}"))
}

/// A file of a known format that is not too large.
struct Picture<'a> {
    bytes: Cow<'a, [u8]>,
    format: ImageFormat,
}

impl<'a> Picture<'a> {
    fn new(bytes: &'a [u8], limits: &ImageLimits) -> Result<Self, ImageError> {
        if bytes.is_empty() {
            return Err(ImageError::Image("has no bytes".into()));
        }
        if bytes.len() > limits.max_bytes {
            let (size, max) = (bytes.len(), limits.max_bytes);
            return Err(ImageError::Image(format!("has {size} bytes, the limit is {max}: send a smaller file")));
        }
        let format = image::guess_format(bytes).map_err(|_| {
            let known = "PNG, JPEG, WebP, GIF, BMP, TIFF";
            ImageError::Image(format!("is not in a supported format ({known}), or its beginning is damaged"))
        })?;
        let bytes = match format {
            ImageFormat::Png => png::pixels_only(bytes),
            _ => Cow::Borrowed(bytes),
        };
        // The decoder would allocate memory for a size beyond the end of the file.
        if format == ImageFormat::WebP {
            webp::check(&bytes).map_err(|problem| unreadable(&problem))?;
        }
        Ok(Self { bytes, format })
    }

    /// The decoder of an image within the limits; it has only read the header.
    fn decoder(&self, limits: &ImageLimits) -> Result<impl ImageDecoder + '_, ImageError> {
        let mut reader = ImageReader::with_format(Cursor::new(&self.bytes[..]), self.format);
        let mut memory = Limits::default();
        // 16 bytes hold any pixel (four channels of 32 bits) and 64 MB the decoder's own tables.
        memory.max_alloc = Some(limits.max_pixels.saturating_mul(16).saturating_add(64 << 20));
        reader.limits(memory);
        let decoder = reader.into_decoder().map_err(|e| unreadable(&e))?;
        let (width, height) = decoder.dimensions();
        let pixels = pixels(&decoder);
        if pixels == 0 {
            return Err(ImageError::Image(format!("has {width} x {height} pixels: it is empty")));
        }
        if pixels > limits.max_pixels {
            let max = limits.max_pixels;
            return Err(ImageError::Image(format!(
                "has {width} x {height} = {pixels} pixels, the limit is {max}: send a smaller image"
            )));
        }
        let (depth, most) = (u64::from(decoder.color_type().bytes_per_pixel()), limits.max_pixels.saturating_mul(4));
        if decoder.total_bytes() > most {
            return Err(ImageError::Image(format!(
                "has {width} x {height} pixels of {depth} bytes, the limit is {most} bytes: send 8 bits a channel or a \
                 smaller image"
            )));
        }
        Ok(decoder)
    }

    /// Fails if the file ends before its image does; some decoders fill the rest with grey.
    fn check_whole(&self) -> Result<(), ImageError> {
        let checked = match self.format {
            ImageFormat::Png => png::check(&self.bytes),
            ImageFormat::Jpeg => jpeg::check(&self.bytes),
            ImageFormat::Tiff => tiff::check(&self.bytes),
            _ => Ok(()),
        };
        checked.map_err(|problem| unreadable(&problem))
    }
}

/// The picture as a PNG file.
pub fn png(picture: &RgbImage) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Cursor::new(Vec::new());
    let written = picture.write_to(&mut bytes, ImageFormat::Png);
    written.map_err(|error| ImageError::Image(format!("cannot be written as PNG: {error}")))?;
    Ok(bytes.into_inner())
}

/// The picture as a PNG file in a `data:` URL.
pub fn png_url(picture: &RgbImage) -> Result<String, ImageError> {
    let data = base64::engine::general_purpose::STANDARD.encode(png(picture)?);
    Ok(format!("data:image/png;base64,{data}"))
}

/// The bytes of a `data:[<type>];base64,<data>` URL.
pub fn data_url(url: &str) -> Result<Vec<u8>, ImageError> {
    let shown: String = url.chars().take(32).collect();
    let form = "expected `data:image/png;base64,…`";
    let has_scheme = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    let Some(rest) = has_scheme.then(|| &url[5..]) else {
        return Err(ImageError::DataUrl(format!(
            "`{shown}` is not a `data:` URL, and other URLs are not fetched: {form}"
        )));
    };
    let Some((head, data)) = rest.split_once(',') else {
        return Err(ImageError::DataUrl(format!("`{shown}…` is missing the comma before its data: {form}")));
    };
    let (media, encoding) = head.rsplit_once(';').unwrap_or((head, ""));
    if !encoding.trim().eq_ignore_ascii_case("base64") {
        return Err(ImageError::DataUrl(format!("`{shown}…` is not marked as base64: {form}")));
    }
    if !(media.is_empty() || media.to_ascii_lowercase().starts_with("image/")) {
        return Err(ImageError::DataUrl(format!("contains `{media}`, not an image: {form}")));
    }
    // Line breaks are common in hand-written data; URLs made in a shell often lack the final padding.
    let data: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    engine.decode(data).map_err(|e| ImageError::DataUrl(format!("its base64 data is invalid: {e}")))
}
