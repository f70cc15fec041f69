//! The files of a checkpoint: small JSON files, and the headers of the weights.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use serde_json::Value;

use super::error::SimilarityError;
use crate::model::files::{Inventory, Stored};

/// Largest small file; a tokenizer of 250,000 entries has about 40 MB.
const MOST_BYTES: u64 = 256 << 20;

/// Size and time of each file, to detect changes after opening.
pub(super) type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// The stamp of a folder.
pub(super) fn stamp(dir: &Path) -> Result<Stamp, SimilarityError> {
    if !dir.is_dir() {
        return Err(SimilarityError::content(dir, "this folder does not exist on this machine"));
    }
    let mut files = vec![dir.join("config.json"), dir.join("tokenizer.json")];
    files.extend(weight_files(dir)?);
    let of = |path: PathBuf| {
        let metadata: Metadata = std::fs::metadata(&path).map_err(|error| SimilarityError::file(&path, error))?;
        Ok((path, metadata.len(), metadata.modified().ok()))
    };
    files.into_iter().map(of).collect()
}

/// The files that hold a folder's weights.
fn weight_files(dir: &Path) -> Result<BTreeSet<PathBuf>, SimilarityError> {
    let tensors = Inventory::read(dir)?.tensors;
    Ok(tensors.into_values().map(|stored| stored.file.to_path_buf()).collect())
}

/// The text of a small file.
pub(super) fn text(path: &Path) -> Result<String, SimilarityError> {
    let size = std::fs::metadata(path).map_err(|error| SimilarityError::file(path, error))?.len();
    if size > MOST_BYTES {
        return Err(SimilarityError::content(path, format!("has {size} bytes, the limit is {MOST_BYTES}")));
    }
    std::fs::read_to_string(path).map_err(|error| SimilarityError::file(path, error))
}

/// A small JSON file.
pub(super) fn json(path: &Path) -> Result<Value, SimilarityError> {
    let parse = |error| SimilarityError::content(path, format!("is not valid JSON: {error}"));
    serde_json::from_str(&text(path)?).map_err(parse)
}

/// A small JSON file that may be absent.
pub(super) fn json_optional(path: &Path) -> Result<Option<Value>, SimilarityError> {
    if path.exists() { json(path).map(Some) } else { Ok(None) }
}

/// Every tensor of a checkpoint, read.
pub(super) fn weights(dir: &Path, device: &Device) -> Result<HashMap<String, Tensor>, SimilarityError> {
    let mut all = HashMap::new();
    for path in weight_files(dir)? {
        let bytes = std::fs::read(&path).map_err(|error| SimilarityError::file(&path, error))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, device).map_err(|error| {
            SimilarityError::content(&path, format!("is not a readable safetensors file ({error}); copy it again"))
        })?;
        all.extend(tensors);
    }
    Ok(all)
}

/// The weights as described by their headers. Building a model on it checks that every weight exists with the right
/// shape and a supported format; its tensors take no memory and have no values.
#[derive(Debug)]
pub(super) struct Blueprint(BTreeMap<String, Stored>);

impl Blueprint {
    /// Reads the headers of a folder's weights.
    pub(super) fn read(dir: &Path) -> Result<Self, SimilarityError> {
        Ok(Self(Inventory::read(dir)?.tensors))
    }
}

impl SimpleBackend for Blueprint {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let fault = |problem: String| Err(candle_core::Error::Msg(format!("weight `{name}` {problem}")));
        let Some(entry) = self.0.get(name) else { return fault("is missing".to_owned()) };
        if !["F32", "F16", "BF16"].contains(&entry.dtype.as_str()) {
            return fault(format!("is stored as {}; F32, F16 and BF16 can be read", entry.dtype));
        }
        if entry.shape != shape.dims() {
            return fault(format!("has shape {:?}, but config.json requires {:?}", entry.shape, shape.dims()));
        }
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        Err(candle_core::Error::Msg(format!("weight `{name}` was requested without its shape")))
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
