//! The model hub: repositories of models and data sets at Hugging Face, or at a server that speaks like it.
//!
//! A revision is resolved to its commit before anything is fetched, and files are fetched by that commit: what was
//! checked is what arrives. Files are in a cache folder in the layout of Hugging Face's own tools
//! (`models--org--name/snapshots/<commit>/`); a file that is there is not fetched again, and one that broke off is
//! continued where it stopped. Everything here blocks.

mod check;
mod error;
mod files;

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use crate::config::app::AppSettings;
use crate::domain::model::DownloadProgress;
use crate::domain::model_reference::ModelReference;
use crate::domain::repository::Repository;

pub use error::HubError;
pub use files::{dataset_files, model_files};

/// Tries of one file, each going on where the one before broke off.
const RETRIES: usize = 3;
/// Progress is reported after this number of bytes.
const TOLD_EVERY: u64 = 16 << 20;

/// A kind of repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Weights with their configuration.
    Model,
    /// Rows.
    Dataset,
}

/// A repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What it holds.
    pub kind: Kind,
    /// `org/name`.
    pub id: String,
    /// The commit.
    pub commit: String,
    /// Its files, as paths with `/`.
    pub files: Vec<String>,
}

/// `hf:org/name@commit`.
impl std::fmt::Display for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let repository = Repository { id: self.id.clone(), revision: Some(self.commit.clone()) };
        ModelReference::Hub(repository).fmt(f)
    }
}

/// The hub.
#[derive(Debug, Clone)]
pub struct Hub {
    api: Api,
    cache: Cache,
    endpoint: String,
}

impl Hub {
    /// The hub that the settings name.
    pub fn new(settings: &AppSettings) -> Result<Self, HubError> {
        let cache = Cache::new(settings.hf_cache.clone());
        let token = Some(settings.hf_token.clone()).filter(|token| !token.is_empty());
        let endpoint = settings.hf_endpoint.trim_end_matches('/').to_owned();
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(endpoint.clone())
            .with_token(token)
            .with_retries(RETRIES)
            .with_progress(false)
            .with_user_agent("vgpo", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|source| HubError::Unreachable { endpoint: endpoint.clone(), problem: source.to_string() })?;
        Ok(Self { api, cache, endpoint })
    }

    /// What a repository holds; its revision is settled to a commit.
    pub fn look(&self, kind: Kind, repository: &Repository) -> Result<Snapshot, HubError> {
        let info = self.repo(kind, &repository.id, repository.revision()).info();
        let info = info.map_err(|source| HubError::of(source, &self.endpoint, &repository.to_string()))?;
        check::commit(&info.sha, &self.endpoint)?;
        let files: Vec<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
        for file in &files {
            check::file_name(file, &self.endpoint)?;
        }
        Ok(Snapshot { kind, id: repository.id.clone(), commit: info.sha, files })
    }

    /// Downloads the `wanted` files of a snapshot and returns their folder.
    pub fn fetch(
        &self,
        snapshot: &Snapshot,
        wanted: &[String],
        tell: &mut dyn FnMut(DownloadProgress),
    ) -> Result<PathBuf, HubError> {
        let dir = self.snapshot_dir(snapshot);
        let repo = self.repo(snapshot.kind, &snapshot.id, &snapshot.commit);
        for (at, file) in wanted.iter().enumerate() {
            let now = DownloadProgress { file: file.clone(), number: at + 1, files: wanted.len(), bytes: 0, size: 0 };
            if !dir.join(file).exists() {
                self.fetch_file(&repo, &dir, now, tell)?;
            }
        }
        Ok(dir)
    }

    /// The same for a model: its settings are fetched first, and its weights only if `check` finds nothing wrong with
    /// those.
    pub fn fetch_model(
        &self,
        snapshot: &Snapshot,
        wanted: &[String],
        check: &dyn Fn(&Path) -> Result<(), String>,
        tell: &mut dyn FnMut(DownloadProgress),
    ) -> Result<PathBuf, HubError> {
        let settings: Vec<String> = wanted.iter().filter(|file| !files::is_weights(file)).cloned().collect();
        let dir = self.fetch(snapshot, &settings, tell)?;
        check(&dir).map_err(|problem| HubError::Unusable { id: snapshot.id.clone(), problem })?;
        self.fetch(snapshot, wanted, tell)
    }

    fn fetch_file(
        &self,
        repo: &ApiRepo,
        dir: &Path,
        now: DownloadProgress,
        tell: &mut dyn FnMut(DownloadProgress),
    ) -> Result<(), HubError> {
        let file = now.file.clone();
        let mut size = 0;
        let progress = Told { now, last: 0, size: &mut size, tell };
        repo.download_with_progress(&file, progress).map_err(|source| HubError::of(source, &self.endpoint, &file))?;
        let path = dir.join(&file);
        check::content(&path, size).inspect_err(|_| forget(&path))
    }

    /// The folder of a snapshot's files, which need not exist.
    pub fn snapshot_dir(&self, snapshot: &Snapshot) -> PathBuf {
        let repo = Repo::with_revision(snapshot.id.clone(), repo_type(snapshot.kind), snapshot.commit.clone());
        self.cache.repo(repo).pointer_path(&snapshot.commit)
    }

    fn repo(&self, kind: Kind, id: &str, revision: &str) -> ApiRepo {
        self.api.repo(Repo::with_revision(id.to_owned(), repo_type(kind), revision.to_owned()))
    }
}

fn repo_type(kind: Kind) -> RepoType {
    match kind {
        Kind::Model => RepoType::Model,
        Kind::Dataset => RepoType::Dataset,
    }
}

/// Removes a damaged file and the link to it, so that the next try fetches it again.
fn forget(link: &Path) {
    if let Ok(blob) = link.canonicalize() {
        let _ = std::fs::remove_file(blob);
    }
    let _ = std::fs::remove_file(link);
}

/// Passes a file's progress on, now and then.
struct Told<'a> {
    now: DownloadProgress,
    last: u64,
    size: &'a mut u64,
    tell: &'a mut dyn FnMut(DownloadProgress),
}

impl hf_hub::api::Progress for Told<'_> {
    fn init(&mut self, size: usize, _: &str) {
        // A repeat begins here again, and then counts what is there already.
        *self.size = size as u64;
        (self.now.size, self.now.bytes, self.last) = (size as u64, 0, 0);
        (self.tell)(self.now.clone());
    }

    fn update(&mut self, bytes: usize) {
        self.now.bytes += bytes as u64;
        if self.now.bytes >= self.last + TOLD_EVERY {
            self.last = self.now.bytes;
            (self.tell)(self.now.clone());
        }
    }

    fn finish(&mut self) {
        (self.tell)(self.now.clone());
    }
}
