//! Are the files of an artifact still what they were when they were stored? Asked before they are used.
//!
//! A file is read whole once; as long as its size and the time of its last change stay, it counts as what it was found
//! to be.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::domain::checkpoint::{Manifest, ManifestFile};

use super::ArtifactError;
use super::folder::hashed;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
/// Files that are remembered at most; then all are looked at anew.
const REMEMBERED: usize = 10_000;

/// What shows that a file was not touched: its size, and when it was changed.
type Sight = (u64, Option<SystemTime>);

/// Files that were found to be intact.
#[derive(Debug, Default)]
pub struct Intact(Mutex<HashMap<PathBuf, (Sight, String)>>);

impl Intact {
    /// Compares those files of `folder` that are `wanted` with the manifest of the artifact `key`.
    ///
    /// # Errors
    /// `Damaged` with the first difference.
    pub fn check(
        &self,
        key: &str,
        folder: &Path,
        manifest: &Manifest,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), ArtifactError> {
        let mut buffer = Vec::new();
        for file in manifest.files.iter().filter(|file| wanted(&file.path)) {
            let damaged = |problem: String| ArtifactError::Damaged { key: key.to_owned(), problem };
            self.compare(&folder.join(&file.path), file, &mut buffer).map_err(damaged)?;
        }
        Ok(())
    }

    fn compare(&self, path: &Path, file: &ManifestFile, buffer: &mut Vec<u8>) -> Result<(), String> {
        let name = &file.path;
        let unreadable = |error: std::io::Error| format!("{name} cannot be read: {error}");
        let found = fs::metadata(path).map_err(unreadable)?;
        if found.len() != file.size_bytes {
            return Err(format!("{name} has {} bytes instead of {}", found.len(), file.size_bytes));
        }
        let sight = (found.len(), found.modified().ok());
        let known = |intact: &HashMap<PathBuf, (Sight, String)>| {
            intact.get(path).is_some_and(|(seen, sha256)| *seen == sight && *sha256 == file.sha256)
        };
        if known(&self.0.lock()) {
            return Ok(());
        }
        buffer.resize(CHUNK, 0);
        let (_, sha256) = File::open(path).and_then(|mut file| hashed(&mut file, buffer)).map_err(unreadable)?;
        if sha256 != file.sha256 {
            return Err(format!("{name} has another content"));
        }
        let mut intact = self.0.lock();
        if intact.len() >= REMEMBERED {
            intact.clear();
        }
        intact.insert(path.to_path_buf(), (sight, sha256));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::manifest_of;
    use super::*;

    #[test]
    fn what_is_not_what_it_was_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (weights, moments) = (folder.path().join("weights"), folder.path().join("trainer"));
        fs::write(&weights, vec![7; 3 << 20]).unwrap();
        fs::write(&moments, "moments").unwrap();
        let manifest = manifest_of(folder.path(), false).unwrap();
        let intact = Intact::default();
        let check = |intact: &Intact| {
            let checked = intact.check("ckpt", folder.path(), &manifest, |path| path != "trainer");
            checked.map_err(|error| error.to_string())
        };
        for _ in 0..2 {
            check(&intact).unwrap();
        }
        // What is not wanted may be damaged.
        fs::write(&moments, "x").unwrap();
        check(&intact).unwrap();
        // A flipped bit, of the same size.
        let mut bytes = fs::read(&weights).unwrap();
        bytes[1 << 20] ^= 1;
        fs::write(&weights, &bytes).unwrap();
        assert!(check(&Intact::default()).unwrap_err().contains("weights has another content"));
        fs::write(&weights, &bytes[1..]).unwrap();
        assert!(check(&intact).unwrap_err().contains("bytes instead of"));
        fs::remove_file(&weights).unwrap();
        assert!(check(&intact).unwrap_err().contains("cannot be read"));
    }
}
