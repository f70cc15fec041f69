//! Folders of files: their manifests, copies, and what makes them durable.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::domain::checkpoint::{Manifest, ManifestFile};

use super::ArtifactError;

const CHUNK: usize = 1 << 20;

type Result<T> = std::result::Result<T, ArtifactError>;

/// A failed file operation.
pub(super) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> ArtifactError + use<'a> {
    move |source| ArtifactError::Io { action, path: path.display().to_string(), source }
}

/// Refuses keys that could leave the store or hide in it.
pub(super) fn check_key(key: &str) -> Result<()> {
    let fits = |part: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(inside)
    };
    if key.split('/').all(fits) { Ok(()) } else { Err(ArtifactError::Key(key.to_owned())) }
}

/// Every file below `folder`, sorted by path; links and other special files are refused.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(io("list", &folder))? {
            let entry = entry.map_err(io("list", &folder))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(io("read", &folder))?);
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            } else {
                let problem =
                    std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is neither a file nor a folder");
                return Err(io("store", &path)(problem));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Hashes every file; flushes it to disk as well when `sync` is set.
pub(super) fn manifest_of(folder: &Path, sync: bool) -> Result<Manifest> {
    let mut entries = Vec::new();
    let mut whole = Sha256::new();
    let mut buffer = vec![0u8; CHUNK];
    for path in files(folder)? {
        let mut file = File::open(&path).map_err(io("open", &path))?;
        let (size_bytes, sha256) = hashed(&mut file, &mut buffer).map_err(io("read", &path))?;
        if sync {
            file.sync_all().map_err(io("flush", &path))?;
        }
        let inside = path.strip_prefix(folder).unwrap_or(&path);
        let parts: Vec<_> = inside.iter().map(|p| p.to_string_lossy()).collect();
        let entry = ManifestFile { path: parts.join("/"), size_bytes, sha256 };
        whole.update(format!("{}\0{}\0{}\n", entry.path, entry.size_bytes, entry.sha256));
        entries.push(entry);
    }
    let size_bytes = entries.iter().map(|e| e.size_bytes).sum();
    Ok(Manifest { files: entries, size_bytes, sha256: format!("{:x}", whole.finalize()) })
}

/// Size and hash of what a file holds from here on.
pub(super) fn hashed(file: &mut File, buffer: &mut [u8]) -> std::io::Result<(u64, String)> {
    let (mut hash, mut size_bytes) = (Sha256::new(), 0u64);
    loop {
        let n = file.read(buffer)?;
        if n == 0 {
            return Ok((size_bytes, format!("{:x}", hash.finalize())));
        }
        hash.update(&buffer[..n]);
        size_bytes += n as u64;
    }
}

/// The first thing in which a folder differs from what it should be.
pub(super) fn difference(found: &Manifest, wanted: &Manifest) -> String {
    for file in &wanted.files {
        match found.files.iter().find(|f| f.path == file.path) {
            None => return format!("{} is missing", file.path),
            Some(f) if f.size_bytes != file.size_bytes => {
                return format!("{} has {} bytes instead of {}", file.path, f.size_bytes, file.size_bytes);
            }
            Some(f) if f.sha256 != file.sha256 => return format!("{} has another content", file.path),
            Some(_) => (),
        }
    }
    match found.files.iter().find(|f| wanted.files.iter().all(|w| w.path != f.path)) {
        Some(extra) => format!("{} does not belong to it", extra.path),
        None => "its manifest contradicts itself".to_owned(),
    }
}

/// What the names of weights end in.
const WEIGHTS: &str = "safetensors";

/// Write-protects the weights in a folder: they may be mapped into memory, and never change.
pub(super) fn protect_weights(folder: &Path) -> Result<()> {
    for path in files(folder)?.iter().filter(|path| path.extension().is_some_and(|end| end == WEIGHTS)) {
        let mut permissions = fs::metadata(path).map_err(io("read", path))?.permissions();
        permissions.set_readonly(true);
        fs::set_permissions(path, permissions).map_err(io("protect", path))?;
    }
    Ok(())
}

/// Copies a folder and flushes the copy to disk.
pub(super) fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(io("create", to))?;
    for path in files(from)? {
        let target = to.join(path.strip_prefix(from).unwrap_or(&path));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(io("create", parent))?;
        }
        fs::copy(&path, &target).map_err(io("copy", &path))?;
        File::open(&target).and_then(|f| f.sync_all()).map_err(io("flush", &target))?;
    }
    Ok(())
}

/// Copies a folder with what its links point to, as files of its own.
pub(super) fn copy_following_links(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(io("create", to))?;
    for entry in fs::read_dir(from).map_err(io("list", from))? {
        let path = entry.map_err(io("list", from))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_following_links(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(io("copy", &path))?;
        }
    }
    Ok(())
}

/// Flushes the entries of a folder and of those in it.
pub(super) fn sync_dirs(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let path = entry.map_err(io("list", folder))?.path();
        if path.is_dir() {
            sync_dirs(&path)?;
        }
    }
    sync_dir(folder)
}

/// Flushes the entries of a folder.
pub(super) fn sync_dir(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(io("flush", folder))
}
