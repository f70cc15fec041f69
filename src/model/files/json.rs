//! JSON files.

use std::path::Path;

use serde_json::Value;

use crate::model::ModelError;

/// The value that a file holds.
///
/// # Errors
/// A file that cannot be read, or is not valid JSON.
pub fn read_json(path: &Path) -> Result<Value, ModelError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ModelError::File { path: path.display().to_string(), source })?;
    serde_json::from_str(&text).map_err(|e| ModelError::Config {
        path: path.display().to_string(),
        problem: format!("is not valid JSON: {e}"),
    })
}
