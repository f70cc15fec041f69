//! Sizes, resizing and patches against transformers and torchvision.

use serde_json::Value;
use sha2::{Digest, Sha256};
use vgpo::model::ImageInput;
use vgpo::prompt::{ImageLimits, ImageProcessor, decode_image, resize_bicubic, smart_resize};

use super::{fixtures, json, model_info};

const NO_LIMITS: ImageLimits = ImageLimits { max_bytes: 1 << 30, max_pixels: 1 << 30 };

fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_size_rule() {
    let golden = json("image_processor/smart_resize.json");
    let rows = golden["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 88);
    for row in rows {
        let number = |i: usize| row[i].as_u64().unwrap();
        let result = smart_resize(number(3) as u32, number(4) as u32, number(0) as u32, number(1), number(2));
        match row[5].as_array() {
            Some(size) => {
                let target = result.unwrap();
                assert_eq!(
                    [u64::from(target.height), u64::from(target.width)],
                    [size[0].as_u64().unwrap(), size[1].as_u64().unwrap()],
                    "{row}"
                );
            }
            None => assert!(result.unwrap_err().to_string().contains("200 times"), "{row}"),
        }
    }
}

/// An image processor with a configuration of the goldens.
fn processor(config: &Value) -> ImageProcessor {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("preprocessor_config.json"), config.to_string()).unwrap();
    let base = model_info(&json("models/qwen2_5_vl_tiny/checkpoint/config.json"));
    let input = ImageInput { patch_size: config["patch_size"].as_u64().unwrap() as usize, ..base.image.unwrap() };
    ImageProcessor::from_dir(dir.path(), &input).unwrap()
}

fn f64_of(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn all_images_in_all_configurations() {
    let golden = json("image_processor/cases.json");
    let (mut compared, mut untouched, mut refused) = (0, 0, 0);
    for case in golden["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let bytes = std::fs::read(fixtures().join("image_processor").join(case["file"].as_str().unwrap())).unwrap();
        let image = decode_image(&bytes, &NO_LIMITS).unwrap();
        // Of transparent pictures the goldens hold both readings: pixels and resized pictures drop alpha, patches come
        // from transformers 5.23, which lays such pictures on white before it begins, as we do.
        let clear = matches!(case["mode"].as_str(), Some("RGBA" | "LA"));
        assert_eq!(sha(image.as_raw()) == case["rgb_sha256"].as_str().unwrap(), !clear, "{name}: pixels");
        for (key, result) in case["results"].as_object().unwrap() {
            let config = &golden["config"][key];
            let processor = processor(config);
            let target = processor.target_size(image.width(), image.height(), None, None);
            let Some(size) = result["smart_resize_hw"].as_array() else {
                assert!(target.unwrap_err().to_string().contains("2010 x 10"), "{name}");
                refused += 1;
                continue;
            };
            let target = target.unwrap();
            assert_eq!(
                (u64::from(target.height), u64::from(target.width)),
                (size[0].as_u64().unwrap(), size[1].as_u64().unwrap())
            );
            let Some(fast) = result.get("fast") else { continue };
            let patches = processor.patches(&image, target);
            let shape: Vec<usize> = serde_json::from_value(fast["shape"].clone()).unwrap();
            let grid: Vec<[usize; 3]> = serde_json::from_value(fast["grid_thw"].clone()).unwrap();
            assert_eq!([patches.grid.time, patches.grid.height, patches.grid.width], grid[0]);
            assert_eq!(patches.values.len(), shape[0] * shape[1]);
            if !clear {
                let resized = resize_bicubic(&image, target.width, target.height);
                let wanted = result["resized_uint8"]["pillow_hfirst_sha256"].as_str().unwrap();
                let found = sha(resized.as_raw());
                assert_eq!(found, wanted, "{name} in {key}: a horizontal-first resize gives these very bytes");
            }
            compared += 1;
            if image.dimensions() == (target.width, target.height) {
                untouched += 1;
                let bytes: Vec<u8> = patches.values.iter().flat_map(|v| v.to_le_bytes()).collect();
                assert_eq!(sha(&bytes), fast["sha256"].as_str().unwrap(), "{name} in {key}: nothing was resized");
            }
            close_to_torchvision(&patches.values, fast, &config["image_std"], &format!("{name} in {key}"));
        }
    }
    assert_eq!((compared, untouched, refused), (46, 4, 3));
}

/// Two levels of 255 at most, and the same statistics.
fn close_to_torchvision(values: &[f32], fast: &Value, std: &Value, what: &str) {
    let level = 1.0 / 255.0 / std.as_array().unwrap().iter().map(f64_of).fold(f64::INFINITY, f64::min);
    let near = |ours: &[f32], theirs: &Value| {
        for (a, b) in ours.iter().zip(theirs.as_array().unwrap()) {
            assert!((f64::from(*a) - f64_of(b)).abs() <= 2.01 * level, "{what}: {a} {b}");
        }
    };
    near(&values[..64], &fast["first64"]);
    near(&values[values.len() - 8..], &fast["last8"]);
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
    assert!((mean - f64_of(&fast["mean"])).abs() < 0.02 * level, "{what}: mean {mean}");
}

#[test]
fn resized_pictures_are_close_to_torchvision() {
    let mut pictures = 0;
    for entry in std::fs::read_dir(fixtures().join("image_processor/resized")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().strip_suffix(".fast.png").unwrap().to_owned();
        // Made of the colours below transparent places.
        if ["rgba_120x90", "la_70x50"].contains(&name.as_str()) {
            continue;
        }
        let wanted = image::open(&path).unwrap().into_rgb8();
        let source = ["png", "tif"].map(|e| fixtures().join(format!("image_processor/images/{name}.{e}")));
        let source = source.iter().find(|p| p.exists()).unwrap();
        let image = decode_image(&std::fs::read(source).unwrap(), &NO_LIMITS).unwrap();
        let ours = resize_bicubic(&image, wanted.width(), wanted.height());
        let differences: Vec<u8> = ours.as_raw().iter().zip(wanted.as_raw()).map(|(a, b)| a.abs_diff(*b)).collect();
        let differing = differences.iter().filter(|d| **d > 0).count();
        assert!(differences.iter().all(|d| *d <= 2), "{name}");
        assert!(differing * 100 <= differences.len() * 2, "{name}: {differing} of {}", differences.len());
        pictures += 1;
    }
    assert_eq!(pictures, 12);
}

#[test]
fn limits_of_a_job_replace_those_of_the_checkpoint() {
    let processor = processor(&json("models/qwen2_5_vl_tiny/checkpoint/preprocessor_config.json"));
    let size = |min, max| processor.target_size(200, 200, min, max).map(|t| (t.width, t.height));
    assert_eq!(size(None, None).unwrap(), (196, 196));
    assert_eq!(size(None, Some(28 * 28)).unwrap(), (28, 28));
    assert_eq!(size(Some(560 * 560), None).unwrap(), (560, 560));
    let message = size(Some(9), Some(8)).unwrap_err().to_string();
    assert!(message.contains('9') && message.contains('8') && message.contains("min_pixels"), "{message}");
    assert!(size(Some(0), None).is_err());
}

#[test]
fn an_unsupported_preprocessor_is_refused() {
    let info = model_info(&json("models/qwen2_5_vl_tiny/checkpoint/config.json"));
    let dir = tempfile::tempdir().unwrap();
    for (config, word) in [
        (r#"{"patch_size": 16}"#, "patch_size"),
        (r#"{"do_resize": false}"#, "do_resize"),
        (r#"{"resample": 2}"#, "resample"),
        (r#"{"image_std": [1, 0, 1]}"#, "image_std"),
        (r#"{"min_pixels": 10, "max_pixels": 5}"#, "10"),
        ("{", "EOF"),
    ] {
        std::fs::write(dir.path().join("preprocessor_config.json"), config).unwrap();
        let message = ImageProcessor::from_dir(dir.path(), info.image.as_ref().unwrap()).unwrap_err().to_string();
        assert!(message.contains(word) && message.contains("preprocessor_config.json"), "{message}");
    }
}
