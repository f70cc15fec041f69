//! Artifacts in a bucket of an S3-compatible store.
//!
//! The files of an artifact are below `files/<key>/` and its manifest is `manifests/<key>.json`. The manifest is
//! written last and removed first: an artifact without one does not exist, so it is never visible incomplete. Reading
//! fetches the files into a cache on this machine.

mod bucket;
mod cache;
mod disk_cache;
mod http;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;

use crate::config::app::S3Settings;
use crate::domain::checkpoint::Manifest;

use super::folder::{check_key, difference, io, manifest_of};
use super::{ArtifactError, ArtifactStore, owner};
use bucket::Bucket;
use cache::Cache;
use http::Connector;

const FILES: &str = "files";
const MANIFESTS: &str = "manifests";
/// Logs of jobs, which are not artifacts because they grow.
const LOGS: &str = "logs";
const JSON: &str = ".json";

type Result<T> = std::result::Result<T, ArtifactError>;

/// [`ArtifactStore`] in a bucket.
pub(super) struct BucketStore {
    bucket: Bucket,
    cache: Cache,
}

/// The bucket that an address such as `s3://bucket/prefix` names, and the prefix.
pub(super) fn connect(url: &str, settings: &S3Settings) -> Result<(Arc<dyn ObjectStore>, String)> {
    let unusable = |problem: String| ArtifactError::Unsupported { url: url.to_owned(), problem };
    let rest = url.strip_prefix("s3://").unwrap_or_default();
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.is_empty() {
        return Err(unusable("name a bucket, e.g. s3://my-bucket/vgpo".to_owned()));
    }
    // AWS_… variables count where the settings say nothing, as in AWS's own tools.
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(name).with_http_connector(Connector);
    if !settings.region.is_empty() {
        builder = builder.with_region(&settings.region);
    }
    if !settings.endpoint.is_empty() {
        let plain = settings.endpoint.starts_with("http://");
        builder = builder.with_endpoint(settings.endpoint.trim_end_matches('/')).with_allow_http(plain);
    }
    if !settings.access_key_id.is_empty() {
        builder = builder.with_access_key_id(&settings.access_key_id);
        builder = builder.with_secret_access_key(&settings.secret_access_key);
    }
    let store = builder.build().map_err(|error| unusable(error.to_string()))?;
    Ok((Arc::new(store), prefix.to_owned()))
}

impl BucketStore {
    /// Artifacts below `prefix` of a bucket, downloaded into `cache` with a limit in bytes (0: unlimited).
    pub(super) fn open(store: Arc<dyn ObjectStore>, prefix: &str, cache: &Path, cache_bytes: u64) -> Result<Self> {
        Ok(Self { bucket: Bucket::new(store, prefix)?, cache: Cache::open(cache, cache_bytes)? })
    }

    fn manifest(&self, key: &str) -> Result<Option<Manifest>> {
        check_key(key)?;
        let Some(text) = self.bucket.read(&manifest_path(key))? else { return Ok(None) };
        let broken = |error: serde_json::Error| ArtifactError::Damaged {
            key: key.to_owned(),
            problem: format!("its manifest cannot be read: {error}"),
        };
        serde_json::from_slice(&text).map(Some).map_err(broken)
    }

    fn existing(&self, key: &str) -> Result<Manifest> {
        self.manifest(key)?.ok_or_else(|| ArtifactError::NotFound(key.to_owned()))
    }

    fn fetched(&self, key: &str, manifest: &Manifest) -> Result<PathBuf> {
        self.cache.get(key, manifest, |file, to| {
            self.bucket.fetch(&format!("{FILES}/{key}/{}", file.path), to, file.size_bytes)
        })
    }
}

fn log_path(job_id: &str) -> Result<String> {
    check_key(job_id)?;
    Ok(format!("{LOGS}/{job_id}.jsonl"))
}

fn manifest_path(key: &str) -> String {
    format!("{MANIFESTS}/{key}{JSON}")
}

impl ArtifactStore for BucketStore {
    fn publish_dir(&self, src: &Path, key: &str) -> Result<Manifest> {
        if self.manifest(key)?.is_some() {
            return Err(ArtifactError::Exists(key.to_owned()));
        }
        let manifest = manifest_of(src, false)?;
        for file in &manifest.files {
            let path = format!("{FILES}/{key}/{}", file.path);
            self.bucket.send(&src.join(&file.path), &path, file.size_bytes, &file.sha256)?;
        }
        let text = serde_json::to_vec(&manifest)
            .map_err(|error| ArtifactError::Damaged { key: key.to_owned(), problem: error.to_string() })?;
        if !self.bucket.create(&manifest_path(key), text)? {
            return Err(ArtifactError::Exists(key.to_owned()));
        }
        self.cache.adopt(src, key, &manifest)?;
        Ok(manifest)
    }

    fn path(&self, key: &str) -> Result<PathBuf> {
        self.fetched(key, &self.existing(key)?)
    }

    fn verify(&self, key: &str, manifest: &Manifest) -> Result<()> {
        let stored = self.existing(key)?;
        let found = if &stored == manifest { manifest_of(&self.fetched(key, &stored)?, false)? } else { stored };
        if &found == manifest {
            return Ok(());
        }
        // What this machine holds is worth nothing then; the next fetch looks again.
        self.cache.forget(key)?;
        Err(ArtifactError::Damaged { key: key.to_owned(), problem: difference(&found, manifest) })
    }

    fn delete(&self, key: &str) -> Result<()> {
        check_key(key)?;
        self.bucket.remove(&manifest_path(key))?;
        self.bucket.remove_all(&format!("{FILES}/{key}"))?;
        self.cache.forget(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        check_key(prefix)?;
        let names = self.bucket.names(&format!("{MANIFESTS}/{prefix}"), true)?;
        let mut keys: Vec<String> =
            names.iter().filter_map(|name| Some(format!("{prefix}/{}", name.strip_suffix(JSON)?))).collect();
        keys.sort();
        Ok(keys)
    }

    fn leftovers(&self, prefix: &str) -> Result<Vec<String>> {
        check_key(prefix)?;
        let names = self.bucket.names(&format!("{FILES}/{prefix}"), false)?;
        let complete = self.list(prefix)?;
        let keys = names.iter().map(|name| format!("{prefix}/{name}"));
        Ok(keys.filter(|key| !complete.contains(key)).collect())
    }

    fn owner(&self) -> Result<Option<String>> {
        self.bucket.read(owner::FILE)?.map(|content| owner::read(&content)).transpose()
    }

    fn set_owner(&self, database: &str, replace: bool) -> Result<bool> {
        if replace {
            return self.bucket.write(owner::FILE, owner::written(database)).map(|()| true);
        }
        if self.owner()?.is_some() {
            return Ok(false);
        }
        self.bucket.create(owner::FILE, owner::written(database))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn share_log(&self, job_id: &str, file: &Path) -> Result<()> {
        self.bucket.write(&log_path(job_id)?, std::fs::read(file).map_err(io("read", file))?)
    }

    fn shared_log_size(&self, job_id: &str) -> Result<u64> {
        Ok(self.bucket.size(&log_path(job_id)?)?.unwrap_or(0))
    }

    fn shared_log(&self, job_id: &str, part: Range<u64>) -> Result<Vec<u8>> {
        self.bucket.part(&log_path(job_id)?, part)
    }

    fn forget_log(&self, job_id: &str) -> Result<()> {
        self.bucket.remove(&log_path(job_id)?)
    }

    fn let_go(&self, age: Duration) {
        self.cache.let_go(age);
    }
}
