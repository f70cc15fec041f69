//! Files that are whole at every moment: written beside their place first.

use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// A file on its way to a place.
pub struct Draft<'p> {
    place: &'p Path,
    file: NamedTempFile,
}

impl<'p> Draft<'p> {
    /// An empty file beside `place`.
    pub fn of(place: &'p Path) -> Result<Self, String> {
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(folder).map_err(|error| cannot(place, &error))?;
        Ok(Self { place, file })
    }

    /// Where to write.
    pub fn file(&mut self) -> &mut NamedTempFile {
        &mut self.file
    }

    /// Puts it in its place once all of it has reached the disk; an older file there is replaced.
    pub fn keep(self) -> Result<(), String> {
        let Self { place, file } = self;
        file.as_file().sync_all().map_err(|error| cannot(place, &error))?;
        file.persist(place).map(drop).map_err(|error| cannot(place, &error.error))
    }
}

/// Writes a whole file.
pub fn write_whole(place: &Path, bytes: &[u8]) -> Result<(), String> {
    let mut draft = Draft::of(place)?;
    draft.file().write_all(bytes).map_err(|error| cannot(place, &error))?;
    draft.keep()
}

fn cannot(place: &Path, error: &std::io::Error) -> String {
    format!("cannot write {}: {error}", place.display())
}
