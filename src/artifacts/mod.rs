//! Checkpoints and other folders of files behind one interface: immutable, complete or absent, verifiable.

mod eval_chunks;
mod folder;
mod intact;
mod local;
mod logs;
mod object;
mod owner;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;

use crate::config::app::{AppSettings, folder_of};
use crate::domain::checkpoint::Manifest;

pub use eval_chunks::{evaluated_steps, finished_chunks};
pub use intact::Intact;
pub use logs::{JobLogWriter, JobLogs};
pub use owner::{Ownership, ownership};

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
    /// The store belongs to another database than the one that is used with it.
    #[error(
        "the artifacts belong to another database ({owner}; this one is {database}): nothing of them was touched. \
         Check VGPO_DATABASE_URL and VGPO_ARTIFACTS_URL; where both are right and the other database is gone for good, \
         `vgpo prune --adopt` takes the artifacts over"
    )]
    Foreign {
        /// The id of the database that they belong to.
        owner: String,
        /// The id of the one that is used.
        database: String,
    },
    /// The stored files differ from the manifest.
    #[error("artifact `{key}` is damaged: {problem}")]
    Damaged {
        /// The artifact.
        key: String,
        /// The first difference.
        problem: String,
    },
    /// A request to the object store failed.
    #[error("cannot {action} `{path}` in the object store: {problem}")]
    Remote {
        /// What was tried.
        action: &'static str,
        /// On which object.
        path: String,
        /// Why it failed.
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
    /// The keys directly below `prefix` with invisible files of writers that died. Those of a
    /// running writer are among them: call it only where there is none, or leave out what it writes.
    fn leftovers(&self, prefix: &str) -> Result<Vec<String>, ArtifactError> {
        let _ = prefix;
        Ok(Vec::new())
    }
    /// Removes every artifact below `prefix`, complete or not.
    fn delete_below(&self, prefix: &str) -> Result<(), ArtifactError> {
        for key in [self.list(prefix)?, self.leftovers(prefix)?].concat() {
            self.delete(&key)?;
        }
        self.delete(prefix)
    }
    /// The id of the database that these artifacts belong to; none where none has said so yet.
    fn owner(&self) -> Result<Option<String>, ArtifactError>;
    /// Notes the database that these artifacts belong to. False where another one has been faster, unless it is to be
    /// replaced.
    fn set_owner(&self, database: &str, replace: bool) -> Result<bool, ArtifactError>;
    /// Do other hosts see what is published here, without a disk that they share?
    fn is_shared(&self) -> bool {
        false
    }
    /// Copies a job's log to where other hosts find it. Nothing to do where they share a disk.
    fn share_log(&self, job_id: &str, file: &Path) -> Result<(), ArtifactError> {
        let _ = (job_id, file);
        Ok(())
    }
    /// Bytes of a job's log that was shared; none without one.
    fn shared_log_size(&self, job_id: &str) -> Result<u64, ArtifactError> {
        let _ = job_id;
        Ok(0)
    }
    /// A part of a job's log that was shared, within its size.
    fn shared_log(&self, job_id: &str, part: Range<u64>) -> Result<Vec<u8>, ArtifactError> {
        let _ = part;
        Err(ArtifactError::NotFound(job_id.to_owned()))
    }
    /// Removes a log that was shared; one that is absent is fine.
    fn forget_log(&self, job_id: &str) -> Result<(), ArtifactError> {
        let _ = job_id;
        Ok(())
    }
    /// This process needs no folder any more that it asked for longer ago than `age`: one that was fetched may go when
    /// room is needed.
    fn let_go(&self, age: Duration) {
        let _ = age;
    }
    /// The store is given up again: what it created when it was opened is removed, where nothing was put there.
    fn abandon(&self) {}
}

/// Publishes a copy of `src`, which stays as it is; links in it are followed. The copy is made in `scratch`.
///
/// # Errors
/// Those of [`ArtifactStore::publish_dir`].
pub fn publish_copy(
    store: &dyn ArtifactStore,
    src: &Path,
    key: &str,
    scratch: &Path,
) -> Result<Manifest, ArtifactError> {
    let fault = |source| ArtifactError::Io { action: "copy", path: src.display().to_string(), source };
    std::fs::create_dir_all(scratch).map_err(fault)?;
    let copy = tempfile::Builder::new().prefix(".copy-").tempdir_in(scratch).map_err(fault)?;
    let files = copy.path().join("files");
    folder::copy_following_links(src, &files)?;
    store.publish_dir(&files, key)
}

/// Opens the artifact store of the settings; downloaded files are in the data folder.
///
/// # Errors
/// An address that cannot be used, a folder that cannot be created.
pub fn open_configured(settings: &AppSettings) -> Result<Arc<dyn ArtifactStore>, ArtifactError> {
    if !settings.artifacts_url.starts_with("s3:") {
        return open(&settings.artifacts_url);
    }
    let (store, prefix) = object::connect(&settings.artifacts_url, &settings.s3)?;
    open_bucket(store, &prefix, &settings.data_dir.join("cache"), settings.artifact_cache_bytes)
}

/// Opens an artifact store below `prefix` of any object store; downloaded files are in `cache`, with a limit in bytes
/// (0: unlimited) in addition to those in use.
///
/// # Errors
/// A folder that cannot be created.
pub fn open_bucket(
    store: Arc<dyn ObjectStore>,
    prefix: &str,
    cache: &Path,
    cache_bytes: u64,
) -> Result<Arc<dyn ArtifactStore>, ArtifactError> {
    Ok(Arc::new(object::BucketStore::open(store, prefix, cache, cache_bytes)?))
}

/// Opens the artifact store in a folder (`file:FOLDER`), which is created; what dead writers left is removed.
///
/// # Errors
/// An address that cannot be used, a folder that cannot be created.
pub fn open(url: &str) -> Result<Arc<dyn ArtifactStore>, ArtifactError> {
    let unsupported = |problem: &str| ArtifactError::Unsupported { url: url.to_owned(), problem: problem.to_owned() };
    match folder_of(url) {
        Some(folder) if folder.as_os_str().is_empty() => {
            Err(unsupported("give a folder, e.g. file:vgpo-data/artifacts"))
        }
        Some(folder) => Ok(Arc::new(local::LocalStore::open(folder)?)),
        None => Err(unsupported("use file:FOLDER, e.g. file:vgpo-data/artifacts, or s3://BUCKET/PREFIX")),
    }
}
