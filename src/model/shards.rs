//! Weights on disk: one file, or several with an index as Hugging Face's tools write them.

use std::path::Path;

use safetensors::View;
use serde_json::{Map, Value, json};

use super::ModelError;
use super::outgoing::one_by_one;
use super::weights::{Parameters, file_error, write_tensors};

/// The one file of weights that fit into it.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Index of tensors by file, if there are several files.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

impl Parameters {
    /// Writes all parameters into a folder, under the names they were read with. Equal values give equal bytes.
    pub fn save(&self, dir: &Path, max_shard_bytes: u64) -> Result<(), ModelError> {
        one_by_one(self.outgoing(), |tensors| write_shards(dir, tensors, max_shard_bytes))
    }
}

/// Writes weights into a folder: one file, or, beyond `max_shard_bytes`, several with an index. A tensor is never split:
/// a larger one gets its own file.
pub(super) fn write_shards<V: View>(
    dir: &Path,
    tensors: Vec<(String, V)>,
    max_shard_bytes: u64,
) -> Result<(), ModelError> {
    let mut shards = split(tensors, max_shard_bytes);
    if shards.len() == 1 {
        return write_tensors(shards.remove(0), &dir.join(WEIGHTS_FILE));
    }
    let mut places = Map::new();
    let mut total = 0;
    let count = shards.len();
    for (at, shard) in shards.into_iter().enumerate() {
        let file = format!("model-{:05}-of-{count:05}.safetensors", at + 1);
        for (name, tensor) in &shard {
            places.insert(name.clone(), Value::String(file.clone()));
            total += tensor.data_len();
        }
        write_tensors(shard, &dir.join(&file))?;
    }
    places.sort_keys();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
    let path = dir.join(INDEX_FILE);
    std::fs::write(&path, format!("{index:#}\n")).map_err(|source| file_error(&path, source))
}

/// Tensors in name order, parted so that no part with more than one tensor exceeds the limit; at least one part.
fn split<V: View>(mut tensors: Vec<(String, V)>, max_bytes: u64) -> Vec<Vec<(String, V)>> {
    tensors.sort_by(|one, two| one.0.cmp(&two.0));
    let mut shards = vec![Vec::new()];
    let mut size = 0;
    for (name, tensor) in tensors {
        let more = tensor.data_len() as u64;
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
