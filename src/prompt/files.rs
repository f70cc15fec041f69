//! Reading the small text files of a model's folder.

use std::path::Path;

use super::PromptError;

/// Files of this room are at most this large; a tokenizer of 150,000 entries has about 12 MB.
const MAX_BYTES: u64 = 256 << 20;

/// The text of a required file.
pub(super) fn read(path: &Path) -> Result<String, PromptError> {
    let fail = |source| PromptError::File { path: path.display().to_string(), source };
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > MAX_BYTES {
        return Err(config_error(path, format!("has {size} bytes, the limit is {MAX_BYTES}")));
    }
    std::fs::read_to_string(path).map_err(fail)
}

/// The text of a file that may be absent.
pub(super) fn read_optional(path: &Path) -> Result<Option<String>, PromptError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(PromptError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(other) => Err(other),
    }
}

/// A JSON file that may be absent.
pub(super) fn read_json_optional(path: &Path) -> Result<Option<serde_json::Value>, PromptError> {
    read_optional(path)?
        .map(|text| serde_json::from_str(&text).map_err(|e| config_error(path, format!("is not valid JSON: {e}"))))
        .transpose()
}

/// An error about a file's content.
pub(super) fn config_error(path: &Path, problem: impl Into<String>) -> PromptError {
    PromptError::Config { path: path.display().to_string(), problem: problem.into() }
}
