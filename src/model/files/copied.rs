//! What a checkpoint folder copies from the folder of the model that was trained: every file except weights in any
//! form, and except the description of their number format.

use serde_json::Value;

use super::format::{CONFIG_KEYS, SECTIONS, is_side_file};

/// Ends of the names of files that hold weights, or tell where they are.
const WEIGHTS: [&str; 10] = [
    ".safetensors",
    ".safetensors.index.json",
    ".bin",
    ".bin.index.json",
    ".gguf",
    ".pt",
    ".pth",
    ".h5",
    ".msgpack",
    ".onnx",
];

/// Should a file of a model folder be copied into a folder with other weights?
pub fn is_copied(name: &str) -> bool {
    let hidden = name.starts_with('.');
    !hidden && !is_side_file(name) && !WEIGHTS.iter().any(|end| name.ends_with(end))
}

/// Removes quantisation settings from a configuration; true if there were any.
pub fn without_quantization(config: &mut Value) -> bool {
    let mut changed = false;
    for section in SECTIONS {
        let Some(Value::Object(fields)) = config.pointer_mut(section) else { continue };
        for key in CONFIG_KEYS {
            changed |= fields.shift_remove(key).is_some();
        }
    }
    changed
}
