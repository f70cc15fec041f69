//! The starter model's files, which are part of the program, laid out as a folder.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The starter's name.
pub const NAME: &str = "starter";

/// A file that is part of the program: its name and its bytes.
pub type Embedded = (&'static str, &'static [u8]);

/// The starter's files, in Hugging Face layout.
pub const FILES: &[Embedded] = &[];

/// The file that holds the starter's card and its recommended settings.
const CARD: &str = "card.json";

/// The starter's card: task, limits, examples, `recommended`.
pub fn card(files: &[Embedded]) -> Value {
    let card = files.iter().find(|(name, _)| *name == CARD).map(|(_, bytes)| *bytes).unwrap_or_default();
    serde_json::from_slice(card).unwrap_or_else(|_| json!({}))
}

/// Lays the files out in a folder below `models` and returns it. The folder's name holds a hash of the files, so that
/// another version of the program gets a folder of its own, and jobs that run keep theirs.
///
/// The folder appears whole or not at all: files are written and synced in a folder beside it, which is then renamed.
pub fn lay_out(models: &Path, files: &[Embedded]) -> std::io::Result<PathBuf> {
    let dir = models.join(format!("{NAME}-{}", fingerprint(files)));
    if dir.is_dir() {
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
    match std::fs::rename(draft.path(), &dir) {
        Ok(()) => {}
        // Another process was faster; its folder has the same files.
        Err(_) if dir.is_dir() => return Ok(dir),
        Err(error) => return Err(error),
    }
    File::open(models)?.sync_all()?;
    Ok(dir)
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
    fn files_appear_whole_and_once() {
        let models = tempfile::tempdir().unwrap();
        let files: &[Embedded] = &[("config.json", b"{}"), (CARD, b"{\"task\": \"digits\"}")];
        let dir = lay_out(models.path(), files).unwrap();
        assert_eq!(std::fs::read(dir.join("config.json")).unwrap(), b"{}");
        assert_eq!(lay_out(models.path(), files).unwrap(), dir);
        assert_eq!(card(files)["task"], "digits");
        let other = lay_out(models.path(), &[("config.json", b"{ }")]).unwrap();
        assert_ne!(other, dir);
        // No draft is left behind.
        assert_eq!(std::fs::read_dir(models.path()).unwrap().count(), 2);
    }
}
