//! Weights on disk: one file, or several with an index as Hugging Face's tools write them.

use std::path::Path;

use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::ModelError;
use super::weights::{Parameters, file_error, write_tensors};

/// The one file of weights that fit into it.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Index of tensors by file, if there are several files.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

impl Parameters {
    /// Writes all parameters into a folder, under the names they were read with: one file, or, beyond
    /// `max_shard_bytes`, several with an index. A tensor is never split: a larger one gets its own file. Equal values
    /// give equal bytes.
    pub fn save(&self, dir: &Path, max_shard_bytes: u64) -> Result<(), ModelError> {
        let shards = split(self.named()?, max_shard_bytes);
        if let [whole] = shards.as_slice() {
            return write(whole, &dir.join(WEIGHTS_FILE));
        }
        let mut places = Map::new();
        let mut total = 0;
        for (at, shard) in shards.iter().enumerate() {
            let file = format!("model-{:05}-of-{:05}.safetensors", at + 1, shards.len());
            write(shard, &dir.join(&file))?;
            for (name, tensor) in shard {
                places.insert(name.clone(), Value::String(file.clone()));
                total += bytes(tensor);
            }
        }
        places.sort_keys();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
        let path = dir.join(INDEX_FILE);
        std::fs::write(&path, format!("{index:#}\n")).map_err(|source| file_error(&path, source))
    }
}

/// Tensors in name order, parted so that no part with more than one tensor exceeds the limit; at least one part.
fn split(mut tensors: Vec<(String, Tensor)>, max_bytes: u64) -> Vec<Vec<(String, Tensor)>> {
    tensors.sort_by(|one, two| one.0.cmp(&two.0));
    let mut shards = vec![Vec::new()];
    let mut size = 0;
    for (name, tensor) in tensors {
        let more = bytes(&tensor);
        if size > 0 && size + more > max_bytes {
            shards.push(Vec::new());
            size = 0;
        }
        size += more;
        if let Some(shard) = shards.last_mut() {
            shard.push((name, tensor));
        }
    }
    shards
}

fn bytes(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}

fn write(tensors: &[(String, Tensor)], path: &Path) -> Result<(), ModelError> {
    write_tensors(&tensors.iter().cloned().collect(), path)
}
