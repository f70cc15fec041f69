//! Files of the server's machine that requests may name: those below the folders in the settings.

use std::path::{Path, PathBuf};

use crate::service::{Result, ServiceError};

/// A setting that lists folders.
pub(in crate::service) struct Roots<'a> {
    /// Its name, e.g. `dataset_roots`.
    pub(in crate::service) setting: &'static str,
    /// Its environment variable.
    pub(in crate::service) variable: &'static str,
    /// The folders.
    pub(in crate::service) folders: &'a [PathBuf],
}

impl Roots<'_> {
    /// The path, links followed, if it is below one of the folders; else an error about the field at `pointer`.
    pub(in crate::service) fn allow(&self, path: &str, pointer: &str) -> Result<PathBuf> {
        let refuse = |detail: String| Err(ServiceError::field(pointer, detail));
        let Self { setting, variable, folders } = self;
        if folders.is_empty() {
            return refuse(format!(
                "folders of this machine are not allowed: list some in the setting {setting} ({variable})"
            ));
        }
        let shown = folders.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ");
        // The same answer whether the path is absent or elsewhere: outsiders learn nothing of the disk.
        let folder = Path::new(path).canonicalize().ok();
        let inside = |folder: &PathBuf| {
            folders.iter().any(|root| root.canonicalize().is_ok_and(|root| folder.starts_with(root)))
        };
        match folder.filter(inside) {
            Some(folder) => Ok(folder),
            None => refuse(format!("there is no `{path}` below the folders of {setting}: {shown}")),
        }
    }
}
