//! Where the settings of the image processor are, which of two files wins, and what they may say.

use std::path::Path;

use serde_json::{Value, json};
use vgpo::model::ModelInfo;
use vgpo::prompt::{ImageProcessor, PromptError, TargetSize};

use super::{json as fixture, model_info};

const NESTED: &str = "processor_config.json";
const FLAT: &str = "preprocessor_config.json";

fn info(family: &str) -> ModelInfo {
    model_info(&fixture(format!("models/{family}/checkpoint/config.json")))
}

fn settings(family: &str) -> Value {
    fixture(format!("models/{family}/checkpoint/{FLAT}"))
}

fn write(dir: &Path, file: &str, content: &Value) {
    std::fs::write(dir.join(file), content.to_string()).unwrap();
}

fn open(files: &[(&str, Value)], family: &str) -> Result<ImageProcessor, PromptError> {
    let dir = tempfile::tempdir().unwrap();
    for (file, content) in files {
        write(dir.path(), file, content);
    }
    ImageProcessor::from_dir(dir.path(), &info(family).image.unwrap())
}

/// What a picture becomes: its size and its values.
fn seen(processor: &ImageProcessor) -> (TargetSize, Vec<f32>) {
    let image = image::RgbImage::from_fn(150, 90, |x, y| image::Rgb([x as u8, y as u8, (x + y) as u8]));
    let target = processor.target_size(150, 90, None, None).unwrap();
    (target, processor.patches(&image, target).values)
}

#[test]
fn both_forms_of_the_file_mean_the_same() {
    for family in super::FAMILIES {
        let mut own = settings(family);
        own["image_mean"] = json!([0.1, 0.2, 0.3]);
        let flat = seen(&open(&[(FLAT, own.clone())], family).unwrap());
        let nested = json!({"processor_class": "X", "image_processor": own.clone(), "video_processor": {}});
        assert_eq!(seen(&open(&[(NESTED, nested.clone())], family).unwrap()), flat);
        // As in transformers the nested form wins.
        let mut other = own.clone();
        other["image_mean"] = json!([0.9, 0.9, 0.9]);
        assert_eq!(seen(&open(&[(NESTED, nested), (FLAT, other)], family).unwrap()), flat);
        // An older processor_config.json says nothing about images.
        assert_eq!(seen(&open(&[(NESTED, json!({"processor_class": "X"})), (FLAT, own)], family).unwrap()), flat);
    }
}

#[test]
fn a_folder_without_settings_is_refused() {
    let family = super::FAMILIES[2];
    for files in [
        vec![],
        vec![("video_preprocessor_config.json", settings(family))],
        vec![(NESTED, json!({"video_processor": settings(family)}))],
        vec![(NESTED, json!({"image_processor": null}))],
    ] {
        let error = open(&files, family).unwrap_err();
        assert!(!error.is_input() && error.to_string().contains(FLAT) && error.to_string().contains(NESTED), "{error}");
    }
}

#[test]
fn rules_hold_for_both_forms() {
    let family = super::FAMILIES[1];
    for (name, value) in [
        ("do_normalize", json!(false)),
        ("do_resize", json!(false)),
        ("do_rescale", json!("true")),
        ("do_convert_rgb", json!(false)),
        ("do_center_crop", json!(true)),
        ("do_pad", json!(true)),
        ("crop_size", json!({"height": 224, "width": 224})),
        ("resample", json!(2)),
        ("rescale_factor", json!(1.0)),
        ("image_processor_type", json!("CLIPImageProcessor")),
        ("image_mean", json!(0.5)),
        ("image_std", json!([0.5, 0.5])),
        ("image_std", json!([0.5, 0.5, 0])),
        ("patch_size", json!(16)),
        ("merge_size", json!("2")),
        ("min_pixels", json!("3136")),
        ("max_pixels", json!(-1)),
        ("size", json!({"height": 224, "width": 224})),
        ("size", json!(224)),
    ] {
        let mut changed = settings(family);
        changed[name] = value;
        for (file, content) in [(FLAT, changed.clone()), (NESTED, json!({"image_processor": changed.clone()}))] {
            let error = open(&[(file, content)], family).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(file), "{name}: {error}");
        }
    }
    let mut half = settings(family);
    let fields = half.as_object_mut().unwrap();
    fields.shift_remove("min_pixels");
    fields.shift_remove("max_pixels");
    fields.insert("size".to_owned(), json!({"shortest_edge": 3136}));
    let error = open(&[(FLAT, half)], family).unwrap_err().to_string();
    assert!(error.contains("longest_edge"), "{error}");
}

#[test]
fn settings_that_are_not_used_are_told() {
    let family = super::FAMILIES[0];
    assert_eq!(open(&[(FLAT, settings(family))], family).unwrap().notes(), Vec::<String>::new());
    let mut more = settings(family);
    more["my_note"] = json!(1);
    let processor = open(&[(NESTED, json!({"image_processor": more}))], family).unwrap();
    assert_eq!(processor.notes(), ["processor_config.json has settings that are not used: `my_note`"]);
}
