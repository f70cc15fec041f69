//! Files: atomic writes, via a temporary file in the same folder, and JSON.

use std::io::Write as _;
use std::path::Path;

use serde_json::Value;
use tempfile::{Builder, NamedTempFile};

/// A file that is being written.
pub struct Draft<'p> {
    place: &'p Path,
    file: NamedTempFile,
}

impl<'p> Draft<'p> {
    /// An empty temporary file next to `place`.
    pub fn of(place: &'p Path) -> Result<Self, String> {
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = builder().tempfile_in(folder).map_err(|error| cannot(place, &error))?;
        Ok(Self { place, file })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut NamedTempFile {
        &mut self.file
    }

    /// Moves it to its place once it is on disk; an existing file is replaced.
    pub fn keep(self) -> Result<(), String> {
        let Self { place, file } = self;
        file.as_file().sync_all().map_err(|error| cannot(place, &error))?;
        file.persist(place).map(drop).map_err(|error| cannot(place, &error.error))
    }
}

/// A temporary file gets the rights of any new file: it is meant to be kept, and read by others.
fn builder() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}

/// The JSON of a file.
pub fn read_json(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{} is not valid JSON: {e}", path.display()))
}

/// Fails where something is already, unless it may be replaced.
pub fn refuse_existing(place: &Path, force: bool) -> Result<(), String> {
    if force || !place.exists() {
        return Ok(());
    }
    Err(format!("{} already exists; choose another path, or replace it with --force", place.display()))
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
