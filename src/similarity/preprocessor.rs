//! Converts images to pixel values like the checkpoint's image processor in `transformers` with Pillow.

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::Value;

use super::config::{Architecture, Config, short};
use super::error::SimilarityError;
use super::folder;
use crate::prompt::{Filter, resize};

/// The longest side may be this many times the shortest.
const MAX_RATIO: u32 = 200;
/// Largest side that an image is resized to.
const MOST_SIDE: u64 = 1 << 12;

/// Resizes, crops and normalises images.
#[derive(Debug, Clone)]
pub(super) struct Preprocessor {
    size: Size,
    filter: Filter,
    /// Height and width of the centre crop.
    crop: Option<(u32, u32)>,
    /// Normalised value of each byte, per channel.
    table: Vec<[f32; 256]>,
}

/// The size that an image is resized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// The shorter side; the aspect ratio is kept.
    ShortestEdge(u32),
    /// Height and width.
    Exact(u32, u32),
}

/// The settings of an image processor, and their file.
struct Settings {
    path: PathBuf,
    fields: Value,
}

impl Preprocessor {
    /// Reads `processor_config.json` (its `image_processor`), else `preprocessor_config.json`.
    pub(super) fn read(dir: &Path, config: &Config) -> Result<Self, SimilarityError> {
        let settings = Settings::read(dir)?;
        let is_clip = settings.is_clip(config)?;
        for step in ["do_resize", "do_rescale", "do_normalize"] {
            if !settings.flag(step, true)? {
                return Err(settings.fault(step, "must be true"));
            }
        }
        let size = settings.size(is_clip)?;
        let filter = match settings.get("resample").map(Value::as_u64) {
            None | Some(Some(3)) => Filter::Bicubic,
            Some(Some(2)) => Filter::Bilinear,
            Some(_) => return Err(settings.fault("resample", "must be 2 (bilinear) or 3 (bicubic)")),
        };
        let crop = if settings.flag("do_center_crop", is_clip)? { Some(settings.crop()?) } else { None };
        let side = config.image_side as u32;
        let out = match (crop, size) {
            (Some(crop), _) => Some(crop),
            (None, Size::Exact(height, width)) => Some((height, width)),
            (None, Size::ShortestEdge(_)) => None,
        };
        if out != Some((side, side)) {
            let problem = format!(
                "does not produce images of {side} x {side} pixels, which the model needs according to config.json"
            );
            return Err(SimilarityError::content(&settings.path, problem));
        }
        let room = match size {
            Size::ShortestEdge(edge) => edge,
            Size::Exact(height, width) => height.min(width),
        };
        if room < side {
            return Err(settings.fault("size", "must not be smaller than the crop"));
        }
        Ok(Self { size, filter, crop, table: settings.table(is_clip)? })
    }

    /// Appends an image's values to `out`: channel, row, column.
    pub(super) fn pixels(&self, picture: &RgbImage, out: &mut Vec<f32>) -> Result<(), SimilarityError> {
        let (width, height) = picture.dimensions();
        let (short_side, long_side) = (width.min(height), width.max(height));
        if short_side == 0 || long_side / short_side >= MAX_RATIO {
            let problem = format!(
                "an image has {width} x {height} pixels: one side may be at most {MAX_RATIO} times the other; crop or \
                pad it"
            );
            return Err(SimilarityError::Input(problem));
        }
        let (to_height, to_width) = match self.size {
            Size::Exact(height, width) => (height, width),
            Size::ShortestEdge(edge) => {
                let long = (f64::from(edge) * f64::from(long_side) / f64::from(short_side)) as u32;
                if width <= height { (long, edge) } else { (edge, long) }
            }
        };
        let resized = resize(picture, to_width, to_height, self.filter);
        let (rows, columns) = self.crop.unwrap_or((to_height, to_width));
        let (top, left) = ((to_height - rows) / 2, (to_width - columns) / 2);
        for (channel, table) in self.table.iter().enumerate() {
            for y in top..top + rows {
                let values = (left..left + columns).map(|x| resized.get_pixel(x, y).0[channel]);
                out.extend(values.map(|value| table[usize::from(value)]));
            }
        }
        Ok(())
    }
}

impl Settings {
    fn read(dir: &Path) -> Result<Self, SimilarityError> {
        let nested_path = dir.join("processor_config.json");
        let nested = folder::json_optional(&nested_path)?;
        if let Some(fields) = nested.and_then(|mut json| json.get_mut("image_processor").map(Value::take)) {
            return Ok(Self { path: nested_path, fields });
        }
        let path = dir.join("preprocessor_config.json");
        Ok(Self { fields: folder::json(&path)?, path })
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn fault(&self, name: &str, problem: &str) -> SimilarityError {
        let value = self.get(name).map(|value| format!(" is {},", short(&value.to_string()))).unwrap_or_default();
        SimilarityError::content(&self.path, format!("`{name}`{value} but {problem}"))
    }

    /// The kind of image processor, CLIP's or SigLIP's, which determines the defaults.
    fn is_clip(&self, config: &Config) -> Result<bool, SimilarityError> {
        let named = self.get("image_processor_type").or_else(|| self.get("feature_extractor_type"));
        match named.and_then(Value::as_str) {
            None => Ok(matches!(config.architecture, Architecture::Clip(_))),
            Some("CLIPFeatureExtractor") => Ok(true),
            Some(name) if name.starts_with("CLIPImageProcessor") => Ok(true),
            Some(name) if name.starts_with("SiglipImageProcessor") => Ok(false),
            Some(_) => {
                let problem = "only CLIPImageProcessor and SiglipImageProcessor are supported";
                Err(self.fault("image_processor_type", problem))
            }
        }
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, SimilarityError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.fault(name, "must be true or false"))
    }

    fn side(&self, name: &str, value: Option<&Value>) -> Result<u32, SimilarityError> {
        let side = value.and_then(Value::as_u64).filter(|side| (1..=MOST_SIDE).contains(side));
        let side =
            side.ok_or_else(|| self.fault(name, &format!("its sides must be whole numbers from 1 to {MOST_SIDE}")))?;
        Ok(side as u32)
    }

    /// Old files contain one number: the shorter side.
    fn size(&self, is_clip: bool) -> Result<Size, SimilarityError> {
        let Some(value) = self.get("size") else {
            return Ok(if is_clip { Size::ShortestEdge(224) } else { Size::Exact(224, 224) });
        };
        if value.is_number() {
            let side = self.side("size", Some(value))?;
            return Ok(Size::ShortestEdge(side));
        }
        if value.get("longest_edge").is_some_and(|edge| !edge.is_null()) {
            return Err(self.fault("size", "`longest_edge` is not supported"));
        }
        match value.get("shortest_edge").filter(|edge| !edge.is_null()) {
            Some(edge) => Ok(Size::ShortestEdge(self.side("size", Some(edge))?)),
            None => Ok(Size::Exact(self.side("size", value.get("height"))?, self.side("size", value.get("width"))?)),
        }
    }

    fn crop(&self) -> Result<(u32, u32), SimilarityError> {
        let Some(value) = self.get("crop_size") else { return Ok((224, 224)) };
        if value.is_number() {
            let side = self.side("crop_size", Some(value))?;
            return Ok((side, side));
        }
        Ok((self.side("crop_size", value.get("height"))?, self.side("crop_size", value.get("width"))?))
    }

    fn table(&self, is_clip: bool) -> Result<Vec<[f32; 256]>, SimilarityError> {
        let (mean, std) = if is_clip {
            ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11])
        } else {
            ([0.5; 3], [0.5; 3])
        };
        let scale = match self.get("rescale_factor") {
            None => 1.0 / 255.0,
            Some(value) => value
                .as_f64()
                .filter(|factor| *factor > 0.0 && factor.is_finite())
                .ok_or_else(|| self.fault("rescale_factor", "must be a number above 0"))?,
        };
        let (mean, std) = (self.channels("image_mean", mean)?, self.channels("image_std", std)?);
        if std.iter().any(|value| *value <= 0.0) {
            return Err(self.fault("image_std", "must be above 0"));
        }
        let value = |channel: usize, byte: usize| ((byte as f64 * scale - mean[channel]) / std[channel]) as f32;
        Ok((0..3).map(|channel| std::array::from_fn(|byte| value(channel, byte))).collect())
    }

    fn channels(&self, name: &str, default: [f64; 3]) -> Result<[f64; 3], SimilarityError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let numbers: Option<Vec<f64>> = value.as_array().map(|list| list.iter().filter_map(Value::as_f64).collect());
        let numbers = numbers.and_then(|numbers| <[f64; 3]>::try_from(numbers).ok());
        numbers.ok_or_else(|| self.fault(name, "must be three numbers"))
    }
}
