//! Files and folders of backups.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Result;
use super::error::io;
use crate::domain::checkpoint::ManifestFile;

/// Copies a folder with everything in it except links, which are not part of an artifact.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(io("create", to))?;
    for entry in fs::read_dir(from).map_err(io("list", from))? {
        let entry = entry.map_err(io("list", from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(io("read", &path))?;
        if kind.is_dir() {
            copy_folder(&path, &target)?;
        } else if kind.is_file() {
            fs::copy(&path, &target).map_err(io("copy", &path))?;
        }
    }
    Ok(())
}

/// Every file below a folder with its hash, sorted by path; flushed to disk on the way.
pub(super) fn hashed(folder: &Path) -> Result<Vec<ManifestFile>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).map_err(io("list", &dir))? {
            let path = entry.map_err(io("list", &dir))?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(hashed_file(folder, &path)?);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// One file of a folder with its hash; flushed to disk on the way.
pub(super) fn hashed_file(folder: &Path, path: &Path) -> Result<ManifestFile> {
    let mut file = File::open(path).map_err(io("open", path))?;
    let (mut hash, mut size_bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let n = file.read(&mut buffer).map_err(io("read", path))?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        size_bytes += n as u64;
    }
    file.sync_all().map_err(io("flush", path))?;
    let inside = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    Ok(ManifestFile { path: inside, size_bytes, sha256: format!("{:x}", hash.finalize()) })
}

/// Flushes a folder's own entries.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(io("flush", folder))
}

/// Is there nothing, or a folder without entries?
pub(super) fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}
