//! Where the files are that rows name by path.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use unicode_normalization::UnicodeNormalization as _;

use super::paths::{relative, shown};
use crate::domain::dataset::DatasetLimits;

/// Folders this deep are looked into for files that are not where rows say.
const DEPTH: usize = 3;
/// Most folders that are looked into.
const MOST: usize = 256;

/// The files of a data set.
pub(super) struct FileFinder {
    /// The data set's folder, canonical.
    root: PathBuf,
    /// Folders below it, found when one is needed.
    folders: OnceLock<Vec<PathBuf>>,
}

/// Everything needed to read a row's images.
pub(super) struct ImageContext<'a> {
    /// The data set's files.
    pub(super) finder: &'a FileFinder,
    /// The data file of the row.
    pub(super) file: &'a Path,
    /// How large images may be.
    pub(super) limits: &'a DatasetLimits,
}

/// Sees every image file that is read: its path and bytes.
pub(super) type Witness<'a> = &'a mut dyn FnMut(&Path, &[u8]);

impl FileFinder {
    /// The files in `root`, a canonical path.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), folders: OnceLock::new() }
    }

    /// The file `name`: in the folder of the data file `data_file`, in a folder above it, or below one outer folder.
    /// Names are the same whether their accents are composed or not. Links count as what they lead to.
    pub(super) fn find(&self, data_file: &Path, name: &str) -> Result<PathBuf, String> {
        let inside = relative(name)?;
        let above = data_file.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root));
        let file = above.chain([self.root.as_path()]).find_map(|folder| below(folder, &inside));
        let Some(file) = file.map_or_else(|| self.in_outer_folder(&inside), |file| Ok(Some(file)))? else {
            let near = data_file.parent().and_then(|folder| folder.strip_prefix(&self.root).ok());
            let near = near.map_or_else(String::new, |folder| shown(&folder.to_string_lossy()));
            let looked = if near.is_empty() { String::new() } else { format!(", in `{near}` or above it") };
            return Err(format!("there is no file `{}` in the data set{looked}", shown(name)));
        };
        let file = file.canonicalize().map_err(|error| format!("`{}` cannot be opened: {error}", shown(name)))?;
        if !file.starts_with(&self.root) {
            return Err(format!("path `{}` is a link that leads out of the data set's folder", shown(name)));
        }
        if file.is_file() { Ok(file) } else { Err(format!("`{}` is not a file", shown(name))) }
    }

    /// The file below the only folder that has it.
    fn in_outer_folder(&self, inside: &Path) -> Result<Option<PathBuf>, String> {
        let folders = self.folders.get_or_init(|| folders(&self.root));
        let mut matches = folders.iter().filter_map(|folder| below(folder, inside));
        let (first, second) = (matches.next(), matches.next());
        if let (Some(first), Some(second)) = (&first, &second) {
            let told = |path: &Path| shown(&path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy());
            return Err(format!(
                "`{}` may be `{}` or `{}`; name it from the data set's folder",
                shown(&inside.to_string_lossy()),
                told(first),
                told(second)
            ));
        }
        Ok(first)
    }
}

/// The file `inside` of `folder`, each part of the name in the form that is there.
fn below(folder: &Path, inside: &Path) -> Option<PathBuf> {
    let exact = folder.join(inside);
    if exact.symlink_metadata().is_ok() {
        return Some(exact);
    }
    let mut path = folder.to_owned();
    for part in inside {
        let part = part.to_str()?;
        let forms = [part.to_owned(), part.nfc().collect(), part.nfd().collect()];
        path = forms.into_iter().map(|form| path.join(form)).find(|path| path.symlink_metadata().is_ok())?;
    }
    Some(path)
}

/// Folders below `root`, the outer ones first.
fn folders(root: &Path) -> Vec<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let (mut begin, mut depth) = (0, 0);
    while begin < folders.len() && depth < DEPTH && folders.len() < MOST {
        let end = folders.len();
        for at in begin..end {
            let inside = std::fs::read_dir(&folders[at]).into_iter().flatten().flatten();
            let inside = inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            let mut inside: Vec<PathBuf> = inside.map(|entry| entry.path()).collect();
            inside.sort();
            folders.extend(inside);
        }
        (begin, depth) = (end, depth + 1);
    }
    folders.truncate(MOST);
    folders.remove(0);
    folders
}
