//! What a folder with new weights takes over from the folder that they grew from: everything but weights in whatever form,
//! and what described the number format of the old ones.

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

/// Does a file of a model folder belong into a folder with other weights?
pub fn is_copied(name: &str) -> bool {
    let hidden = name.starts_with('.');
    !hidden && !is_side_file(name) && !WEIGHTS.iter().any(|end| name.ends_with(end))
}

/// Removes from a configuration what says that weights are quantised; true if there was any.
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
