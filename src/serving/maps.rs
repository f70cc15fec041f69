//! Encodes raw maps for an answer: as numbers, bytes or pictures.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;

use super::answer::{AttentionAnswer, AttentionMap, ImageInfo, TokenMaps};
use super::prepare::{PreparedPrompt, layer_indices};
use super::request::{AttentionOptions, MapFormat, MapScope, MapSource};
use super::{ServingError, heatmap};

/// Encodes the maps of one prompt in the requested format.
pub struct MapWriter {
    options: AttentionOptions,
    images: Vec<ImageInfo>,
    pixels: Vec<Arc<RgbImage>>,
    /// The decoder layers that attention is taken from.
    layers: Vec<usize>,
}

impl MapWriter {
    /// A writer for a prompt's images; `with_attention` are the model's decoder layers that have attention.
    pub fn new(options: &AttentionOptions, prompt: &PreparedPrompt, with_attention: &[usize]) -> Self {
        let layers = layer_indices(&options.layers, with_attention);
        Self { options: options.clone(), images: prompt.image_infos(), pixels: prompt.pixels.clone(), layers }
    }

    /// Are its maps pictures?
    pub fn draws(&self) -> bool {
        self.options.maps != MapScope::None && self.options.format == MapFormat::Png
    }

    /// Is a map of this token requested?
    fn wants(&self, token: usize) -> bool {
        self.options.maps == MapScope::Tokens
            && self.options.tokens_range.is_none_or(|[first, end]| (first..end).contains(&token))
    }

    fn write(&self, maps: &[Vec<f32>]) -> Result<Vec<AttentionMap>, ServingError> {
        maps.iter().enumerate().map(|(image, values)| self.write_one(image, values)).collect()
    }

    fn write_one(&self, image: usize, values: &[f32]) -> Result<AttentionMap, ServingError> {
        let info = &self.images[image];
        if self.options.format == MapFormat::Values {
            let rows = values.chunks(info.cols.max(1)).map(<[f32]>::to_vec).collect();
            return Ok(AttentionMap { values: Some(rows), ..AttentionMap::default() });
        }
        // Bytes of attention start at 0, so that faint maps can be compared; pictures use the full colour range, so
        // that small differences are visible. Both report their range.
        let from_zero = self.options.source == MapSource::Attention && self.options.format == MapFormat::U8;
        let (offset, scale) = range(values, from_zero);
        let bytes: Vec<u8> = values.iter().map(|v| byte_of(*v, offset, scale)).collect();
        let mut map = AttentionMap { scale: Some(scale), offset: Some(offset), ..AttentionMap::default() };
        if self.options.format == MapFormat::U8 {
            map.u8 = Some(STANDARD.encode(bytes));
        } else {
            let heat: Vec<f32> = values.iter().map(|v| heat_of(*v, offset, scale)).collect();
            let under = self.options.overlay.then(|| self.pixels[image].as_ref());
            map.png = Some(STANDARD.encode(heatmap::png(under, info, &heat)?));
        }
        Ok(map)
    }
}

/// Value of the byte 0, and of one step.
fn range(values: &[f32], from_zero: bool) -> (f64, f64) {
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let low = if from_zero { 0.0 } else { values.iter().copied().fold(f32::INFINITY, f32::min) };
    let (low, high) = (f64::from(low), f64::from(high));
    (low, (high - low).max(0.0) / 255.0)
}

fn byte_of(value: f32, offset: f64, scale: f64) -> u8 {
    if scale > 0.0 { ((f64::from(value) - offset) / scale).round().clamp(0.0, 255.0) as u8 } else { 0 }
}

fn heat_of(value: f32, offset: f64, scale: f64) -> f32 {
    if scale > 0.0 { ((f64::from(value) - offset) / (scale * 255.0)).clamp(0.0, 1.0) as f32 } else { 0.0 }
}

/// Gathers the maps of one response.
#[derive(Default)]
pub struct MapCollector {
    sums: Vec<Vec<f64>>,
    count: usize,
    tokens: Vec<TokenMaps>,
}

impl MapCollector {
    /// Adds a token's raw maps; returns its encoded maps, if requested.
    ///
    /// # Errors
    /// A picture that cannot be encoded.
    pub fn add(
        &mut self,
        writer: &MapWriter,
        index: usize,
        maps: &[Vec<f32>],
    ) -> Result<Vec<AttentionMap>, ServingError> {
        if maps.is_empty() {
            return Ok(Vec::new());
        }
        self.sums.resize_with(maps.len(), Vec::new);
        for (sum, map) in self.sums.iter_mut().zip(maps) {
            sum.resize(map.len(), 0.0);
            sum.iter_mut().zip(map).for_each(|(s, v)| *s += f64::from(*v));
        }
        self.count += 1;
        if writer.wants(index) { writer.write(maps) } else { Ok(Vec::new()) }
    }

    /// Keeps a token's encoded maps for the answer.
    pub fn keep(&mut self, index: usize, maps: Vec<AttentionMap>) {
        if !maps.is_empty() {
            self.tokens.push(TokenMaps { index, maps });
        }
    }

    /// All maps of the response.
    ///
    /// # Errors
    /// A picture that cannot be encoded.
    pub fn finish(self, writer: &MapWriter) -> Result<AttentionAnswer, ServingError> {
        let count = self.count.max(1) as f64;
        let means: Vec<Vec<f32>> =
            self.sums.iter().map(|sum| sum.iter().map(|s| (s / count) as f32).collect()).collect();
        let (images, layers) = (writer.images.clone(), writer.layers.clone());
        Ok(AttentionAnswer { images, summary: writer.write(&means)?, tokens: self.tokens, layers })
    }
}
