//! Checkpoints and other folders of files behind one interface: immutable, complete or absent, verifiable.

mod local;
mod logs;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::checkpoint::Manifest;

pub use logs::{JobLogWriter, JobLogs};
pub use rows::finished_chunks;

/// An error of the artifact store.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The address cannot be used.
    #[error("artifact store `{url}`: {problem}")]
    Unsupported {
        /// The address.
        url: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A key that could leave the store or hide in it.
    #[error(
        "artifact key `{0}`: use letters, digits, `.`, `_`, `-`, and `/` between parts that begin with none of them"
    )]
    Key(String),
    /// Nothing is stored under the key.
    #[error("no artifact `{0}`")]
    NotFound(String),
    /// Something is stored there already; artifacts never change.
    #[error("artifact `{0}` exists already")]
    Exists(String),
    /// The stored files differ from the manifest.
    #[error("artifact `{key}` is damaged: {problem}")]
    Damaged {
        /// The artifact.
        key: String,
        /// The first difference.
        problem: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Stores folders under keys such as `checkpoints/run_…/ckpt_…`. Calls block; they may be made from several threads
/// and processes at once.
pub trait ArtifactStore: Send + Sync {
    /// Takes over the folder `src` (it is gone afterwards) and makes it visible under `key`, complete and on disk, in
    /// one instant. On an error nothing is visible. `Exists` when the key is taken.
    fn publish_dir(&self, src: &Path, key: &str) -> Result<Manifest, ArtifactError>;
    /// A local folder with the artifact's files, to be read only.
    fn path(&self, key: &str) -> Result<PathBuf, ArtifactError>;
    /// Reads every file and compares it with the manifest; `Damaged` names the first difference.
    fn verify(&self, key: &str, manifest: &Manifest) -> Result<(), ArtifactError>;
    /// Removes an artifact; one that is absent is fine.
    fn delete(&self, key: &str) -> Result<(), ArtifactError>;
    /// The keys directly below `prefix`, sorted.
    fn list(&self, prefix: &str) -> Result<Vec<String>, ArtifactError>;
}

/// Opens the artifact store at `url` (`file:FOLDER`); the folder is created, and what dead writers left is removed.
pub fn open(url: &str) -> Result<Arc<dyn ArtifactStore>, ArtifactError> {
    let unsupported = |problem: &str| ArtifactError::Unsupported { url: url.to_owned(), problem: problem.to_owned() };
    match url.split_once(':') {
        Some(("file", rest)) => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() {
                return Err(unsupported("give a folder, e.g. file:vgpo-data/artifacts"));
            }
            Ok(Arc::new(local::LocalStore::open(Path::new(path))?))
        }
        Some(("s3", _)) => Err(unsupported("S3 is not supported yet; use file:FOLDER")),
        _ => Err(unsupported("use file:FOLDER, e.g. file:vgpo-data/artifacts")),
    }
}
