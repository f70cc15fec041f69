//! What was fetched from the object store: complete folders, each under its key and its hash. Weights are mapped into
//! memory and rows are read at random, so both need files.

use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::domain::checkpoint::{Manifest, ManifestFile};

use super::super::ArtifactError;
use super::super::folder::{difference, io, manifest_of, protect_weights, sync_dirs};
use super::disk_cache::DiskCache;

const PARTIAL: &str = ".partial";

type Result<T> = std::result::Result<T, ArtifactError>;

/// The folder of fetched artifacts.
pub(super) struct Cache {
    root: PathBuf,
    disk: DiskCache,
}

impl Cache {
    /// A cache in `root`, which is created, with a limit in bytes (0: unlimited).
    pub(super) fn open(root: &Path, limit: u64) -> Result<Self> {
        let partial = root.join(PARTIAL);
        fs::create_dir_all(&partial).map_err(io("create", &partial))?;
        let root = root.canonicalize().map_err(io("open", root))?;
        Ok(Self { disk: DiskCache::open(&root, limit)?, root })
    }

    fn folder(&self, key: &str, manifest: &Manifest) -> PathBuf {
        self.root.join(key).join(&manifest.sha256)
    }

    /// The folder of an artifact; what is missing is brought by `fetch` (a file of the manifest, and where to put it).
    /// An interrupted download is resumed. The hash of every file is checked before the folder appears.
    pub(super) fn get(
        &self,
        key: &str,
        manifest: &Manifest,
        fetch: impl Fn(&ManifestFile, &Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let folder = self.folder(key, manifest);
        let name = name(key, manifest);
        // Pinned before the check, so that the folder is not evicted in between.
        self.disk.record_use(&name, &folder, manifest.size_bytes, true)?;
        if folder.is_dir() {
            return Ok(folder);
        }
        let draft = self.root.join(PARTIAL).join(&name);
        let gate_path = self.root.join(PARTIAL).join(format!("{name}.lock"));
        let gate = File::create(&gate_path).map_err(io("create", &gate_path))?;
        gate.lock().map_err(io("lock", &gate_path))?;
        // Another process may have downloaded it in the meantime.
        if folder.is_dir() {
            return Ok(folder);
        }
        fs::create_dir_all(&draft).map_err(io("create", &draft))?;
        if let Some(outside) = manifest.files.iter().find(|file| !is_inside(&file.path)) {
            return Err(damaged(key, format!("its manifest names the file `{}`", outside.path)));
        }
        for file in &manifest.files {
            let to = draft.join(&file.path);
            let parent = to.parent().unwrap_or(&draft);
            fs::create_dir_all(parent).map_err(io("create", parent))?;
            fetch(file, &to)?;
        }
        let downloaded = manifest_of(&draft, false)?;
        if &downloaded != manifest {
            // The next fetch begins anew.
            fs::remove_dir_all(&draft).map_err(io("remove", &draft))?;
            return Err(damaged(key, difference(&downloaded, manifest)));
        }
        self.place(&draft, &folder)?;
        let _ = fs::remove_file(&gate_path);
        self.disk.trim()?;
        Ok(folder)
    }

    /// Keeps a folder that was just stored, so that it need not be fetched; else it is removed.
    pub(super) fn adopt(&self, src: &Path, key: &str, manifest: &Manifest) -> Result<()> {
        let folder = self.folder(key, manifest);
        match self.place(src, &folder) {
            Ok(()) => {
                self.disk.record_use(&name(key, manifest), &folder, manifest.size_bytes, false)?;
                self.disk.trim()
            }
            // It is on another disk, or was already downloaded.
            Err(_) => fs::remove_dir_all(src).map_err(io("remove", src)),
        }
    }

    fn place(&self, from: &Path, folder: &Path) -> Result<()> {
        protect_weights(from)?;
        sync_dirs(from)?;
        let parent = folder.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(io("create", parent))?;
        fs::rename(from, folder).map_err(io("move", from))
    }

    /// Forgets an artifact.
    pub(super) fn forget(&self, key: &str) -> Result<()> {
        self.disk.discard(&self.root.join(key))
    }

    /// Releases everything that was last requested longer ago than this.
    pub(super) fn let_go(&self, age: Duration) {
        self.disk.let_go(age);
    }
}

/// The name of an artifact's own files in the cache.
fn name(key: &str, manifest: &Manifest) -> String {
    format!("{:x}", Sha256::digest(format!("{key}\0{}", manifest.sha256)))
}

fn damaged(key: &str, problem: String) -> ArtifactError {
    ArtifactError::Damaged { key: key.to_owned(), problem }
}

/// Does a path of a manifest stay in its folder?
fn is_inside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}
