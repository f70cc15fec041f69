//! Large uploads, part by part: what has arrived survives a lost connection and a restart of the server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use utoipa::ToSchema;

use super::area::{ARCHIVES, Area, FILES, WORK, waits_for_parts};
use super::check::Check;
use super::quota::StorageQuota;
use super::request::DatasetRequest;
use super::upload::storage;
use crate::config::datasets::limits;
use crate::data::files::{enough_room, relative};
use crate::domain::dataset::{DatasetRecord, DatasetState};
use crate::service::datasets::Datasets;
use crate::service::{Result, ServiceError};

/// How often a lock is tried: a process that is just being started holds copies of our locks until it runs.
const LOCK_TRIES: usize = 10;
/// Time between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Most files of an upload in parts: every part looks at all of them.
const FILES_IN_PARTS: usize = 1000;

/// A file of an upload in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadedFile {
    /// Its path inside the data set.
    pub path: String,
    /// Bytes that have arrived, which is the offset of the next part.
    pub bytes: u64,
}

/// A part that is being received. What was written stays, however it ends.
pub struct Part {
    file: tokio::fs::File,
    known: UploadedFile,
    /// Bytes that the data set may still grow by.
    left: u64,
    limit: u64,
    /// Bytes of the data set so far.
    stored: u64,
    quota: StorageQuota,
    _area: Area,
}

impl Datasets {
    /// Registers a data set whose files will be sent in parts; it is `uploading` until [`Datasets::finish_parts`].
    pub(super) async fn begin_parts(
        &self,
        request: &DatasetRequest,
        created_by: Option<String>,
    ) -> Result<DatasetRecord> {
        let (record, area) = self.begin(request, &request.name("")?, "upload", created_by).await?;
        match area.wait_for_parts(request) {
            Ok(()) => Ok(record),
            Err(error) => {
                self.store.delete_dataset(&record.id).await?;
                area.remove();
                Err(storage(&error))
            }
        }
    }

    /// Begins a part of the file `path` at byte `offset`: where the file ends, or before that to write it anew from
    /// there.
    pub async fn begin_part(&self, name_or_id: &str, path: &str, offset: u64) -> Result<Part> {
        let (record, area) = self.waiting(name_or_id).await?;
        let inside = relative(path).map_err(|detail| ServiceError::field("/path", detail))?;
        let files = files(&area.dir.join(WORK).join(FILES)).map_err(|error| storage(&error))?;
        let known = inside.to_string_lossy().into_owned();
        let there = files.iter().find(|file| file.path == known).map_or(0, |file| file.bytes);
        if offset > there {
            let detail =
                format!("`{path}` has {there} bytes so far, so its next part must begin there, not at {offset}");
            return Err(ServiceError::Conflict(detail));
        }
        if there == 0 && files.len() >= FILES_IN_PARTS {
            let detail = format!("more than {FILES_IN_PARTS} files; pack them into a zip file");
            return Err(ServiceError::field("/path", detail));
        }
        let limits = limits(&self.settings);
        enough_room(&area.dir, limits.free_bytes).map_err(|error| storage(&error))?;
        let limit = limits.upload_bytes;
        let others: u64 = files.iter().map(|file| file.bytes).sum::<u64>() - there;
        let target = area.dir.join(WORK).join(FILES).join(&inside);
        let file = open_at(&target, offset).await.map_err(|error| storage(&error))?;
        Ok(Part {
            file,
            known: UploadedFile { path: known, bytes: offset },
            left: limit.saturating_sub(others + offset),
            limit,
            stored: others + offset,
            quota: self.storage_quota(&record.project).await?,
            _area: area,
        })
    }

    /// The files of an upload in parts, sorted by path.
    pub async fn uploaded_files(&self, name_or_id: &str) -> Result<Vec<UploadedFile>> {
        let record = self.store.dataset(name_or_id).await?;
        files(&self.parts_dir(&record)?.join(WORK).join(FILES)).map_err(|error| storage(&error))
    }

    /// Every part has arrived: starts the check of the rows.
    pub async fn finish_parts(&self, name_or_id: &str) -> Result<DatasetRecord> {
        let (record, area) = self.waiting(name_or_id).await?;
        let request = area.request().map_err(|error| storage(&error))?;
        let settings = request.settings()?;
        part_archives(&area.dir).map_err(|error| storage(&error))?;
        let quota = self.storage_quota(&record.project).await?;
        let (datasets, limits) = (self.clone(), quota.bound(limits(&self.settings)));
        Check { datasets, record, area, request, settings, limits, source: None }.start().await
    }

    /// Ends an upload that waits for parts, and removes its files.
    pub(super) async fn forget_parts(&self, record: &DatasetRecord) -> Result<DatasetRecord> {
        let (record, area) = self.waiting(&record.id).await?;
        let record = self.store.delete_dataset(&record.id).await?;
        area.remove();
        Ok(record)
    }

    /// An upload that waits for parts, ours alone as long as its folder is held.
    async fn waiting(&self, name_or_id: &str) -> Result<(DatasetRecord, Area)> {
        let record = self.store.dataset(name_or_id).await?;
        let dir = self.parts_dir(&record)?;
        for _ in 0..LOCK_TRIES {
            if let Some(area) = Area::open(dir.clone()).map_err(|error| storage(&error))? {
                return Ok((record, area));
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
        let detail = format!("another part of data set `{}` is being written; send one at a time", record.name);
        Err(ServiceError::Conflict(detail))
    }

    fn parts_dir(&self, record: &DatasetRecord) -> Result<PathBuf> {
        let dir = self.uploads_dir().join(&record.id);
        if record.state == DatasetState::Uploading && waits_for_parts(&dir) {
            return Ok(dir);
        }
        let detail = format!(
            "data set `{}` does not accept parts: it is {}; start with POST /v1/datasets and {{\"source\": \
            {{\"upload\": \"parts\"}}}}",
            record.name,
            record.state.name()
        );
        Err(ServiceError::Conflict(detail))
    }
}

impl Part {
    /// The next bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let count = bytes.len() as u64;
        self.stored += count;
        self.quota.check(self.stored)?;
        if count > self.left {
            let limit = self.limit;
            let detail = format!("the files have more than {limit} bytes, which is the limit (max_dataset_bytes)");
            return Err(ServiceError::field("/file", detail));
        }
        self.file.write_all(bytes).await.map_err(|error| storage(&error))?;
        self.left -= count;
        self.known.bytes += count;
        Ok(())
    }

    /// The part has arrived, and is on disk.
    pub async fn finish(mut self) -> Result<UploadedFile> {
        self.file.flush().await.map_err(|error| storage(&error))?;
        self.file.sync_data().await.map_err(|error| storage(&error))?;
        Ok(self.known)
    }
}

async fn open_at(path: &Path, offset: u64) -> std::io::Result<tokio::fs::File> {
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    let mut file = tokio::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).await?;
    file.set_len(offset).await?;
    file.seek(std::io::SeekFrom::Start(offset)).await?;
    Ok(file)
}

fn files(root: &Path) -> std::io::Result<Vec<UploadedFile>> {
    let (mut files, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
                continue;
            }
            let path = entry.path();
            let inside = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push(UploadedFile { path: inside, bytes: entry.metadata()?.len() });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Puts zip files where the check unpacks them.
fn part_archives(dir: &Path) -> std::io::Result<()> {
    let root = dir.join(WORK).join(FILES);
    let archives = files(&root)?.into_iter().filter(|file| file.path.to_ascii_lowercase().ends_with(".zip"));
    for (number, file) in archives.enumerate() {
        let folder = dir.join(ARCHIVES).join((number + 1).to_string());
        std::fs::create_dir_all(&folder)?;
        let path = root.join(&file.path);
        std::fs::rename(&path, folder.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}
