//! Checks of files from a hub, before they are used.

use std::path::{Component, Path};

use sha2::{Digest, Sha256};

use super::HubError;

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

fn fault(endpoint: &str, problem: String) -> HubError {
    HubError::Answer { endpoint: endpoint.to_owned(), problem }
}

/// A commit becomes the name of a folder.
pub(super) fn commit(commit: &str, endpoint: &str) -> Result<(), HubError> {
    if (7..=64).contains(&commit.len()) && commit.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(fault(endpoint, format!("`{}` is not a commit", commit.escape_default())))
}

/// A file's name becomes a path below that folder.
pub(super) fn file_name(name: &str, endpoint: &str) -> Result<(), HubError> {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if inside && !name.is_empty() && !name.contains('\\') {
        return Ok(());
    }
    Err(fault(endpoint, format!("the file name `{}` leads out of the repository", name.escape_default())))
}

/// Is the linked file complete and, if the hub gave a SHA-256, correct?
pub(super) fn content(link: &Path, size: u64) -> Result<(), HubError> {
    let blob = link.canonicalize().map_err(HubError::Cache)?;
    let damaged = |problem: String| HubError::Damaged { file: link.display().to_string(), problem };
    let length = blob.metadata().map_err(HubError::Cache)?.len();
    if length != size {
        return Err(damaged(format!("{length} bytes instead of {size}")));
    }
    // Large files are named by their SHA-256.
    let name = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.len() != SHA256_DIGITS || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(&blob).map_err(HubError::Cache)?;
    std::io::copy(&mut file, &mut hash).map_err(HubError::Cache)?;
    let found = format!("{:x}", hash.finalize());
    if found != name.to_ascii_lowercase() {
        return Err(damaged("its SHA-256 differs".to_owned()));
    }
    // It never changes under this name, and write-protected weights can be mapped into memory.
    let mut permissions = blob.metadata().map_err(HubError::Cache)?.permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&blob, permissions).map_err(HubError::Cache)
}
