//! The starter model's files, which are part of the program, laid out as a folder.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::NAME;
use crate::domain::model::CARD_FILE;

/// A file that is part of the program: its name and its bytes.
pub type Embedded = (&'static str, &'static [u8]);

macro_rules! starter_files {
    ($($name:literal),*) => {
        &[$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/starter/", $name)))),*]
    };
}

/// The starter's files, in Hugging Face layout. A static: a constant would be in the program once for each place that
/// names it.
pub static FILES: &[Embedded] = starter_files![
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vgpo.json"
];

/// What the starter says about itself.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// Model card: task, limits, examples.
    pub card: Value,
    /// Job settings that suit it.
    pub recommended: Value,
}

/// What the files say about the model.
pub fn notes(files: &[Embedded]) -> Notes {
    let notes = files.iter().find(|(name, _)| *name == CARD_FILE).map(|(_, bytes)| *bytes).unwrap_or_default();
    serde_json::from_slice(notes).unwrap_or_default()
}

/// Lays the files out in a folder below `models` and returns it. The folder's name holds a hash of the files, so that
/// another version of the program gets a folder of its own, and jobs that run keep theirs.
///
/// The folder appears atomically: files are written and synced in a temporary folder, which is then renamed.
pub fn lay_out(models: &Path, files: &[Embedded]) -> std::io::Result<PathBuf> {
    let dir = models.join(format!("{NAME}-{}", fingerprint(files)));
    if is_whole(&dir, files) {
        return Ok(dir);
    }
    std::fs::create_dir_all(models)?;
    let draft = tempfile::Builder::new().prefix(".starter-").tempdir_in(models)?;
    for (name, bytes) in files {
        let mut file = File::create(draft.path().join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    File::open(draft.path())?.sync_all()?;
    if dir.is_dir() && !is_whole(&dir, files) {
        tracing::warn!(folder = %dir.display(), "the starter's files are damaged and will be restored");
        let damaged = tempfile::Builder::new().prefix(".damaged-").tempdir_in(models)?;
        // Current readers are not affected; the name becomes free for the restored files.
        std::fs::rename(&dir, damaged.path().join(NAME))?;
    }
    match std::fs::rename(draft.path(), &dir) {
        Ok(()) => {}
        // Another process was faster; its folder has the same files.
        Err(_) if is_whole(&dir, files) => return Ok(dir),
        Err(error) => return Err(error),
    }
    File::open(models)?.sync_all()?;
    Ok(dir)
}

/// Does the folder hold these files as they are?
fn is_whole(dir: &Path, files: &[Embedded]) -> bool {
    files.iter().all(|(name, bytes)| std::fs::read(dir.join(name)).is_ok_and(|found| found == *bytes))
}

fn fingerprint(files: &[Embedded]) -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in files {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    format!("{:x}", hash.finalize()).chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_starter_knows_itself_and_every_file_ships() {
        let notes = notes(FILES);
        assert!(notes.card["task"].is_string() && notes.recommended["steps"].is_u64(), "{notes:?}");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/starter");
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn files_appear_whole_and_once() {
        let models = tempfile::tempdir().unwrap();
        let files: &[Embedded] = &[("config.json", b"{}"), (CARD_FILE, b"{\"card\": {\"task\": \"digits\"}}")];
        let dir = lay_out(models.path(), files).unwrap();
        assert_eq!(std::fs::read(dir.join("config.json")).unwrap(), b"{}");
        assert_eq!(lay_out(models.path(), files).unwrap(), dir);
        assert_eq!(notes(files).card["task"], "digits");
        // Damaged files are replaced by those of the program.
        std::fs::write(dir.join("config.json"), "").unwrap();
        assert_eq!(lay_out(models.path(), files).unwrap(), dir);
        assert_eq!(std::fs::read(dir.join("config.json")).unwrap(), b"{}");
        let other = lay_out(models.path(), &[("config.json", b"{ }")]).unwrap();
        assert_ne!(other, dir);
        // No temporary folder remains.
        assert_eq!(std::fs::read_dir(models.path()).unwrap().count(), 2);
    }
}
