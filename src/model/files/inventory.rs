//! Which files of a folder hold its weights, and which tensor is which. This depends on names alone, never on the order
//! of files.
//!
//! As in transformers, `model.safetensors` takes precedence over an index. What transformers decides by the order of
//! files or names (one tensor in two shards, or under its old and its new name) is an error here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::header::{Stored, read};
use super::json::read_json;
use crate::model::ModelError;
use crate::model::family::Names;
use crate::model::shards::{INDEX_FILE, WEIGHTS_FILE};

/// Ends of the names of weights in layouts that are not read.
const FOREIGN: [&str; 7] = [".bin", ".gguf", ".pt", ".pth", ".safetensors", ".h5", ".msgpack"];
/// Maximum number of files that an error names.
const SHOWN: usize = 3;

/// A folder's tensors under the names that the program uses.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Every tensor.
    pub tensors: BTreeMap<String, Stored>,
    /// Notes for the user who registers the model.
    pub notes: Vec<String>,
}

impl Inventory {
    /// Reads the headers of a folder's weights; tensors are called as in the files.
    ///
    /// # Errors
    /// Files that are missing or damaged, and tensors that are there more than once.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        Self::read_as(dir, None)
    }

    /// The same, with the names that a family has for them.
    pub fn read_as(dir: &Path, names: Option<&Names>) -> Result<Self, ModelError> {
        let single = dir.join(WEIGHTS_FILE);
        let index = dir.join(INDEX_FILE);
        let mut inventory = Self::default();
        if single.exists() {
            if index.exists() {
                inventory.notes.push(format!("{WEIGHTS_FILE} is used; {INDEX_FILE} in the same folder is ignored"));
            }
            inventory.add(read(&single)?, names)?;
            return Ok(inventory);
        }
        if !index.exists() {
            return Err(no_weights(dir));
        }
        let places = weight_map(&index)?;
        for path in shards(dir, &index, &places)? {
            let stored = read(&path)?;
            check_places(&index, &places, &stored)?;
            inventory.add(stored, names)?;
        }
        Ok(inventory)
    }

    fn add(&mut self, stored: Vec<Stored>, names: Option<&Names>) -> Result<(), ModelError> {
        for tensor in stored {
            if let Some(layout) = names.and_then(|names| names.refusal(&tensor.name)) {
                return Err(ModelError::Weight { name: tensor.name, problem: format!("is of {layout}") });
            }
            let name = names.map_or_else(|| tensor.name.clone(), |names| names.canonical(&tensor.name));
            if let Some(other) = self.tensors.get(&name) {
                return Err(twice(other, &tensor));
            }
            self.tensors.insert(name, tensor);
        }
        Ok(())
    }
}

fn twice(one: &Stored, other: &Stored) -> ModelError {
    let problem = if one.name == other.name {
        format!("is in `{}` and in `{}`; keep one of them", one.file_name(), other.file_name())
    } else {
        format!("is also stored as `{}`; keep one of the two names", other.name)
    };
    ModelError::Weight { name: one.name.clone(), problem }
}

fn config_error(path: &Path, problem: String) -> ModelError {
    ModelError::Config { path: path.display().to_string(), problem }
}

fn weight_map(index: &Path) -> Result<Map<String, Value>, ModelError> {
    match read_json(index)?.get_mut("weight_map").map(Value::take) {
        Some(Value::Object(places)) => Ok(places),
        _ => Err(config_error(index, "has no `weight_map`".to_owned())),
    }
}

/// The files that an index names, in the order of their names.
fn shards(dir: &Path, index: &Path, places: &Map<String, Value>) -> Result<Vec<PathBuf>, ModelError> {
    let mut names = Vec::new();
    for (tensor, file) in places {
        let file = file.as_str().filter(|name| !name.contains(['/', '\\']) && !name.contains(".."));
        names.push(file.ok_or_else(|| {
            config_error(index, format!("`weight_map` must give `{tensor}` the name of a file of the same folder"))
        })?);
    }
    names.sort_unstable();
    names.dedup();
    for name in &names {
        if !dir.join(name).exists() {
            let problem = format!("names {name}, which is not there: copy all files, or remove a stale index");
            return Err(config_error(index, problem));
        }
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// The index decides where a tensor is: one in another file is left over from another save.
fn check_places(index: &Path, places: &Map<String, Value>, stored: &[Stored]) -> Result<(), ModelError> {
    for tensor in stored {
        let Some(place) = places.get(&tensor.name).and_then(Value::as_str) else { continue };
        let file = tensor.file_name();
        if place != file {
            let problem = format!("says that `{}` is in {place}, but {file} contains it too", tensor.name);
            return Err(config_error(index, format!("{problem}: write the shards again, or remove the wrong one")));
        }
    }
    Ok(())
}

fn no_weights(dir: &Path) -> ModelError {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut others: Vec<String> = names.filter(|name| FOREIGN.iter().any(|end| name.ends_with(end))).collect();
    others.sort();
    others.truncate(SHOWN);
    let instead = if others.is_empty() {
        "download or copy the weights".to_owned()
    } else {
        format!("{} cannot be read; save the model with transformers' `save_pretrained`", others.join(", "))
    };
    config_error(dir, format!("has neither {WEIGHTS_FILE} nor {INDEX_FILE}: {instead}"))
}
