//! Zip files: unpacked within limits, and never outside of their folder.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use zip::ZipArchive;

use super::layout::file_error;
use super::paths;
use crate::data::DataError;
use crate::domain::dataset::DatasetLimits;

/// Unpacks the zip file `archive` into `dir`. What a Mac adds and hidden files are left out; links, encrypted entries, paths
/// that lead out of `dir`, more files or more bytes than `limits` allow are errors. What an entry's header says about its
/// size is not trusted: the bytes are counted.
pub fn unpack(archive: &Path, dir: &Path, limits: &DatasetLimits) -> Result<(), DataError> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bad = |problem: String| DataError::Archive { file: name.clone(), problem };
    let file = File::open(archive).map_err(|source| file_error(archive, source))?;
    let mut zip = ZipArchive::new(file).map_err(|e| bad(format!("it cannot be read as zip: {e}")))?;
    if zip.len() as u64 > limits.files {
        return Err(bad(format!("it holds {} files; the limit is {}", zip.len(), limits.files)));
    }
    let (mut left, mut seen) = (limits.unpacked_bytes, HashSet::new());
    for number in 0..zip.len() {
        let entry = zip.by_index(number).map_err(|e| bad(format!("entry {} cannot be read: {e}", number + 1)))?;
        let entry_name = entry.name().map_err(|e| bad(format!("the name of entry {}: {e}", number + 1)))?.into_owned();
        let inside = paths::relative(entry_name.trim_end_matches('/'))
            .map_err(|problem| bad(format!("entry {}: {problem}", number + 1)))?;
        if entry.is_dir() || inside.iter().any(|part| part == "__MACOSX" || part.to_string_lossy().starts_with('.')) {
            continue;
        }
        if entry.is_symlink() {
            return Err(bad(format!("`{entry_name}` is a link; pack the file itself")));
        }
        if entry.encrypted() {
            return Err(bad(format!("`{entry_name}` is encrypted; pack it without a password")));
        }
        if !seen.insert(inside.clone()) {
            return Err(bad(format!("`{entry_name}` is in it twice")));
        }
        let target = dir.join(&inside);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(|e| bad(format!("`{entry_name}` cannot be unpacked: {e}")))?;
        }
        let mut out = File::create_new(&target).map_err(|e| bad(format!("`{entry_name}` cannot be unpacked: {e}")))?;
        let mut limited = entry.take(left.saturating_add(1));
        let written =
            copy(&mut limited, &mut out).map_err(|e| bad(format!("`{entry_name}` cannot be unpacked: {e}")))?;
        left = left.checked_sub(written).ok_or_else(|| {
            bad(format!("it unpacks to more than {} bytes, which is the limit", limits.unpacked_bytes))
        })?;
    }
    Ok(())
}

fn copy(from: &mut impl std::io::Read, to: &mut File) -> std::io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(total);
        }
        to.write_all(&buffer[..read])?;
        total += read as u64;
    }
}
