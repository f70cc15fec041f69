//! Paths that a data set names: they never lead out of its folder.

use std::path::{Component, Path, PathBuf};

/// Bytes of a path inside a data set: with the data set's own folder it must stay below what the system takes.
const MAX_PATH: usize = 1000;
/// Bytes of one name in it.
const MAX_NAME: usize = 255;

/// `relative` as a path without detours; an error when it is absolute or goes up.
pub fn relative(relative: &str) -> Result<PathBuf, String> {
    let refused = |why: &str| Err(format!("path `{}` {why}", shown(relative)));
    if relative.is_empty() || relative.contains('\0') {
        return refused("names no file");
    }
    if relative.len() > MAX_PATH {
        return refused("has more than 1000 bytes, which is the limit");
    }
    let mut path = PathBuf::new();
    // Windows' separator would be part of a name here and a way up there.
    for component in Path::new(&relative.replace('\\', "/")).components() {
        match component {
            Component::Normal(name) if name.len() > MAX_NAME => {
                return refused("has a part of more than 255 bytes, which no file system takes");
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return refused("leads out of the data set's folder; paths are relative to it and hold no `..`"),
        }
    }
    if path.as_os_str().is_empty() { refused("names no file") } else { Ok(path) }
}

/// A text from outside as a message quotes it.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
