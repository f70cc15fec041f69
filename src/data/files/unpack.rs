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

/// Bytes between two looks at the room that is left on the disk.
const LOOK_EVERY: u64 = 16 << 20;

/// Unpacks the zip file `archive` into `dir`. What a Mac adds and hidden files are left out; links, encrypted entries,
/// paths that lead out of `dir`, more files or more bytes than `limits` allow are errors, and so is a disk that would
/// get full. Empty files hold neither rows nor images and are left out. What an entry's header says about its size is
/// not trusted: the bytes are counted.
pub fn unpack(archive: &Path, dir: &Path, limits: &DatasetLimits) -> Result<(), DataError> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bad = |problem: String| DataError::Archive { file: name.clone(), problem };
    let file = File::open(archive).map_err(|source| file_error(archive, source))?;
    let mut zip = ZipArchive::new(file).map_err(|e| bad(format!("it cannot be read as zip: {e}")))?;
    if zip.len() as u64 > limits.files {
        return Err(bad(format!("it holds {} files; the limit is {}", zip.len(), limits.files)));
    }
    let (mut left, mut seen) = (limits.unpacked_bytes, HashSet::new());
    let room = || enough_room(dir, limits.free_bytes);
    let mut since = LOOK_EVERY;
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
        if entry.size() == 0 {
            continue;
        }
        let target = dir.join(&inside);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(|e| bad(format!("`{entry_name}` cannot be unpacked: {e}")))?;
        }
        let mut out = File::create_new(&target).map_err(|e| bad(format!("`{entry_name}` cannot be unpacked: {e}")))?;
        let mut limited = entry.take(left.saturating_add(1));
        let written = copy(&mut limited, &mut out, &mut since, &room)
            .map_err(|e| bad(format!("`{entry_name}` cannot be unpacked: {e}")))?;
        left = left.checked_sub(written).ok_or_else(|| {
            bad(format!("it unpacks to more than {} bytes, which is the limit", limits.unpacked_bytes))
        })?;
    }
    Ok(())
}

/// Copies everything, and looks now and then whether there is room for more.
fn copy(
    from: &mut impl std::io::Read,
    to: &mut File,
    since: &mut u64,
    room: &impl Fn() -> std::io::Result<()>,
) -> std::io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        if *since >= LOOK_EVERY {
            room()?;
            *since = 0;
        }
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(total);
        }
        to.write_all(&buffer[..read])?;
        (total, *since) = (total + read as u64, *since + read as u64);
    }
}

/// Fails where the disk of `dir`, or of what is there of its way, has less than `floor` bytes left.
pub fn enough_room(dir: &Path, floor: u64) -> std::io::Result<()> {
    let Some(there) = dir.ancestors().find(|folder| folder.exists()) else { return Ok(()) };
    let disk = rustix::fs::statvfs(there)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= floor {
        return Ok(());
    }
    let problem = format!("the disk has {free} bytes left; {floor} are kept free: remove data sets or checkpoints");
    Err(std::io::Error::new(std::io::ErrorKind::StorageFull, problem))
}
