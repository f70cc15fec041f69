//! Data sets from a hub: fetched in the background, then checked like an upload and kept by us.

use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

use super::area::{ARCHIVES, FILES, WORK};
use super::check::Check;
use super::recover::broken_off;
use super::request::DatasetRequest;
use crate::config::datasets::limits;
use crate::domain::dataset::{DatasetLimits, DatasetRecord};
use crate::domain::repository::Repository;
use crate::outbound::hub::{Hub, HubError, Kind, Snapshot, dataset_files};
use crate::service::core::hub::at_hub;
use crate::service::datasets::Datasets;
use crate::service::{Result, ServiceError};

/// Files that are being downloaded from a hub.
struct Fetch {
    hub: Hub,
    snapshot: Snapshot,
    wanted: Vec<String>,
    limits: DatasetLimits,
    dir: PathBuf,
}

impl Datasets {
    /// Registers the files of a repository; the data set is `uploading` until all of them are here.
    pub(super) async fn register_from_hub(
        &self,
        request: DatasetRequest,
        repository: Repository,
        folder: Option<String>,
        created_by: Option<String>,
    ) -> Result<DatasetRecord> {
        let settings = request.settings()?;
        let name = request.name(&repository.id)?;
        let (hub, snapshot) = self.look_at_hub(Kind::Dataset, repository).await?;
        let wanted = dataset_files(&snapshot, folder.as_deref()).map_err(|error| at_hub(&error))?;
        let limits = limits(&self.settings);
        if wanted.len() as u64 > limits.files {
            let (count, limit) = (wanted.len(), limits.files);
            let detail = format!(
                "`{}` has {count} files, more than {limit} (max_dataset_files); name a `folder` of it",
                snapshot.id
            );
            return Err(ServiceError::field("/source/hub", detail));
        }
        let (record, area) = self.begin(&request, &name, &snapshot.to_string(), created_by).await?;
        let fetch = Fetch { hub, snapshot, wanted, limits, dir: area.dir.clone() };
        let datasets = self.clone();
        let check = Check { datasets, record: record.clone(), area, request, settings, limits, source: None };
        tokio::spawn(fetch_and_check(fetch, check));
        Ok(record)
    }
}

async fn fetch_and_check(fetch: Fetch, check: Check) {
    let (datasets, record) = (check.datasets.clone(), check.record.clone());
    let (send, receive) = oneshot::channel();
    // A thread of its own: a server that stops need not wait for the hub, and the next start marks the data set.
    std::thread::spawn(move || send.send(fetch.run()));
    let (problem, area) = match receive.await {
        Ok(Ok(())) => match check.start().await {
            Ok(_) => return,
            Err(error) => (error.to_string(), None),
        },
        Ok(Err(problem)) => (problem, Some(check.area)),
        Err(_) => ("the hub's client failed".to_owned(), Some(check.area)),
    };
    tracing::warn!(dataset = %record.id, problem, "a data set could not be downloaded");
    match datasets.store.update_dataset(&record.id, &broken_off(&record, problem)).await {
        Ok(_) => datasets.tell_news(),
        Err(error) => tracing::error!(dataset = %record.id, %error, "a data set's final state could not be stored"),
    }
    // Last: a record whose folder is gone counts as left by a dead server.
    if let Some(area) = area {
        let _ = tokio::task::spawn_blocking(move || area.remove()).await;
    }
}

impl Fetch {
    /// Fetches one file after the other, so that one too many is noticed before the rest is downloaded. Blocks.
    fn run(self) -> std::result::Result<(), String> {
        let (mut bytes, mut archives) = (0, 0);
        for file in &self.wanted {
            let one = std::slice::from_ref(file);
            let dir = self.hub.fetch(&self.snapshot, one, &mut |_| ()).map_err(|error| error.to_string())?;
            let target = if file.to_ascii_lowercase().ends_with(".zip") {
                archives += 1;
                let name = Path::new(file).file_name().unwrap_or_default();
                self.dir.join(ARCHIVES).join(archives.to_string()).join(name)
            } else {
                self.dir.join(WORK).join(FILES).join(file)
            };
            bytes += place(&dir.join(file), &target).map_err(|error| HubError::Cache(error).to_string())?;
            if bytes > self.limits.upload_bytes {
                let limit = self.limits.upload_bytes;
                return Err(format!("the files have more than {limit} bytes, which is the limit (max_dataset_bytes)"));
            }
        }
        Ok(())
    }
}

/// Puts a file of the cache at `target`, without a copy where the file system allows it; returns its bytes.
fn place(cached: &Path, target: &Path) -> std::io::Result<u64> {
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // The cache holds links to files that are never changed.
    let blob = cached.canonicalize()?;
    if std::fs::hard_link(&blob, target).is_err() {
        std::fs::copy(&blob, target)?;
    }
    Ok(std::fs::metadata(target)?.len())
}
