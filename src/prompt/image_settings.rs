//! The settings of a folder's image processor, in either of their forms: `image_processor` inside
//! `processor_config.json`, as newer tools write them, or `preprocessor_config.json`. As in transformers, the first
//! takes precedence, and one of the two files is required. The same rules apply to both.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::PromptError;
use super::files::{config_error, read_json_optional};
use crate::model::ImageInput;

const NESTED_FILE: &str = "processor_config.json";
const NESTED_KEY: &str = "image_processor";
const FLAT_FILE: &str = "preprocessor_config.json";
/// Settings of videos, which are not used for images.
const VIDEO_FILE: &str = "video_preprocessor_config.json";
/// Pillow's number of bicubic.
const BICUBIC: u64 = 3;
/// Default smallest and largest area.
pub(super) const PIXELS: [u64; 2] = [56 * 56, 28 * 28 * 1280];
/// Default mean and standard deviation of each colour channel.
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
/// Settings that are read.
const READ: [&str; 11] = [
    "size",
    "min_pixels",
    "max_pixels",
    "patch_size",
    "merge_size",
    "temporal_patch_size",
    "image_mean",
    "image_std",
    "rescale_factor",
    "resample",
    "image_processor_type",
];
/// Steps that are always done, and steps that never are.
const STEPS: [(&str, bool); 6] = [
    ("do_resize", true),
    ("do_rescale", true),
    ("do_normalize", true),
    ("do_convert_rgb", true),
    ("do_center_crop", false),
    ("do_pad", false),
];
/// Settings about files, devices and the forms of tensors.
const IDLE: [&str; 14] = [
    "_valid_processor_keys",
    "auto_map",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "feature_extractor_type",
    "input_data_format",
    "model_input_names",
    "processor_class",
    "return_tensors",
    "size_divisor",
    "backend",
    "use_fast",
];

/// Settings of an image processor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageSettings {
    /// Smallest and largest area.
    pub(super) pixels: [u64; 2],
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
    /// Settings that are not used.
    pub(super) notes: Vec<String>,
}

/// The object with the settings, and the file for errors.
struct Source {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl ImageSettings {
    pub(super) fn read(dir: &Path, model: &ImageInput) -> Result<Self, PromptError> {
        let source = Source::locate(dir)?;
        source.settings(model).map_err(|problem| config_error(&source.path, problem))
    }
}

impl Source {
    fn locate(dir: &Path) -> Result<Self, PromptError> {
        for (file, key) in [(NESTED_FILE, Some(NESTED_KEY)), (FLAT_FILE, None)] {
            let path = dir.join(file);
            let Some(mut json) = read_json_optional(&path)? else { continue };
            let settings = match key {
                Some(key) => json.get_mut(key).map(Value::take).filter(|value| !value.is_null()),
                None => Some(json),
            };
            match settings {
                None => {}
                Some(Value::Object(fields)) => return Ok(Self { path, fields }),
                Some(other) => {
                    let what = key.map(|key| format!("`{key}` ")).unwrap_or_default();
                    return Err(config_error(&path, format!("{what}is {}, but must be an object", shown(&other))));
                }
            }
        }
        let video =
            if dir.join(VIDEO_FILE).exists() { format!(" ({VIDEO_FILE} is about videos)") } else { String::new() };
        Err(config_error(
            dir,
            format!(
                "has neither {FLAT_FILE} nor {NESTED_FILE} with `{NESTED_KEY}`{video}: copy the file from the model's \
                repository"
            ),
        ))
    }

    fn settings(&self, model: &ImageInput) -> Result<ImageSettings, String> {
        self.check_kind(model)?;
        self.check_sizes(model)?;
        for (step, done) in STEPS {
            if let Some(value) = self.find(step)
                && value.as_bool() != Some(done)
            {
                return Err(format!("`{step}: {}` is not supported", shown(value)));
            }
        }
        if let Some(value) = self.find("crop_size").or(self.find("pad_size")) {
            return Err(format!(
                "`crop_size` or `pad_size` is {}: images are neither cropped nor padded",
                shown(value)
            ));
        }
        if let Some(other) = self.find("resample").filter(|value| value.as_u64() != Some(BICUBIC)) {
            return Err(format!("`resample` is {}; only {BICUBIC} (bicubic) is supported", shown(other)));
        }
        if let Some(other) = self.find("rescale_factor").filter(|value| !is_a_byte(value)) {
            return Err(format!("`rescale_factor` is {}; only 1/255 is supported", shown(other)));
        }
        let (mean, std) = (self.channels("image_mean", MEAN)?, self.channels("image_std", DEVIATION)?);
        if std.iter().any(|s| *s <= 0.0) {
            return Err("`image_std` must be above 0".to_owned());
        }
        Ok(ImageSettings { pixels: self.pixels()?, mean, std, notes: self.notes() })
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// `Fast` and other suffixes name implementations of the same processor.
    fn check_kind(&self, model: &ImageInput) -> Result<(), String> {
        let Some(kind) = self.find("image_processor_type") else { return Ok(()) };
        if kind.as_str().is_some_and(|kind| model.processors.iter().any(|known| kind.starts_with(known))) {
            return Ok(());
        }
        let known = model.processors.first().copied().unwrap_or_default();
        Err(format!("`image_processor_type` is {}; only {known} is supported", shown(kind)))
    }

    fn check_sizes(&self, model: &ImageInput) -> Result<(), String> {
        let same = [
            ("patch_size", model.patch_size),
            ("merge_size", model.merge_size),
            ("temporal_patch_size", model.temporal_patch_size),
        ];
        for (name, there) in same {
            let here = whole(self.find(name), name)?;
            if here.unwrap_or(there as u64) != there as u64 || there == 0 {
                return Err(format!("`{name}` is {}, but the model's own is {there}", here.unwrap_or(0)));
            }
        }
        Ok(())
    }

    /// Despite their names `shortest_edge` and `longest_edge` are areas in pixels. `min_pixels` and `max_pixels` take
    /// precedence.
    fn pixels(&self) -> Result<[u64; 2], String> {
        let size = match self.find("size") {
            None => None,
            Some(Value::Object(size)) => Some(size),
            Some(other) => return Err(format!("`size` is {}, but must be an object", shown(other))),
        };
        let known = ["shortest_edge", "longest_edge", "min_pixels", "max_pixels"];
        let other =
            size.and_then(|size| size.iter().find(|(name, value)| !value.is_null() && !known.contains(&name.as_str())));
        if let Some((name, value)) = other {
            return Err(format!(
                "`size.{name}` is {}: only areas (`shortest_edge`, `longest_edge`) are supported",
                shown(value)
            ));
        }
        let within = |name: &str| size.and_then(|size| size.get(name)).filter(|value| !value.is_null());
        let one = |names: [&str; 2]| -> Result<Option<u64>, String> {
            match whole(self.find(names[0]), names[0])? {
                Some(number) => Ok(Some(number)),
                None => whole(within(names[1]).or_else(|| within(names[0])), names[1]),
            }
        };
        let pixels = match (one(["min_pixels", "shortest_edge"])?, one(["max_pixels", "longest_edge"])?) {
            (Some(min), Some(max)) => [min, max],
            (None, None) if size.is_none() => PIXELS,
            (min, max) if size.is_none() => [min.unwrap_or(PIXELS[0]), max.unwrap_or(PIXELS[1])],
            _ => return Err("`size` must give both `shortest_edge` and `longest_edge`".to_owned()),
        };
        if pixels[0] == 0 || pixels[0] > pixels[1] {
            return Err(format!("the smallest area is {} and the largest {} pixels", pixels[0], pixels[1]));
        }
        Ok(pixels)
    }

    /// Three numbers, one per colour.
    fn channels(&self, name: &str, default: [f64; 3]) -> Result<[f32; 3], String> {
        let Some(value) = self.find(name) else { return Ok(default.map(|v| v as f32)) };
        let numbers = value.as_array().map(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
        let three = numbers.flatten().and_then(|list| <[f64; 3]>::try_from(list).ok());
        let finite = three.map(|three| three.map(|v| v as f32)).filter(|three| three.iter().all(|v| v.is_finite()));
        finite.ok_or_else(|| format!("`{name}` is {}, but must be three numbers", shown(value)))
    }

    fn notes(&self) -> Vec<String> {
        let steps = STEPS.map(|(step, _)| step);
        let known = |name: &str| READ.contains(&name) || IDLE.contains(&name) || steps.contains(&name);
        let unknown = self.fields.iter().filter(|(name, value)| !value.is_null() && !known(name));
        let unknown: Vec<String> = unknown.map(|(name, _)| format!("`{name}`")).collect();
        if unknown.is_empty() {
            return Vec::new();
        }
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        vec![format!("{file} has settings that are not used: {}", unknown.join(", "))]
    }
}

/// A number that must be whole, if it is there.
fn whole(value: Option<&Value>, name: &str) -> Result<Option<u64>, String> {
    let Some(value) = value else { return Ok(None) };
    value.as_u64().map(Some).ok_or_else(|| format!("`{name}` is {}, but must be a whole number", shown(value)))
}

fn is_a_byte(factor: &Value) -> bool {
    factor.as_f64().is_some_and(|factor| (factor * 255.0 - 1.0).abs() <= 1e-6)
}

/// A value as an error shows it.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}
