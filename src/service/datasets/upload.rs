//! Uploads: streamed to disk, and invisible until every row was checked.

use std::path::PathBuf;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::area::{ARCHIVES, Area, FILES, WORK};
use super::check::Check;
use super::quota::StorageQuota;
use super::request::{DatasetRequest, Origin};
use crate::clock::new_id;
use crate::config::datasets::limits;
use crate::data::files::{enough_room, relative};
use crate::domain::dataset::{DatasetLimits, DatasetRecord, DatasetSettings, DatasetState, NewDataset};
use crate::service::core::roots::Roots;
use crate::service::datasets::Datasets;
use crate::service::{Result, ServiceError};

/// Bytes between two looks at the room that is left on the disk.
const LOOK_EVERY: u64 = 64 << 20;

/// An upload that has begun. Dropped before [`Upload::finish`], nothing of it stays.
pub struct Upload {
    datasets: Datasets,
    request: DatasetRequest,
    settings: DatasetSettings,
    limits: DatasetLimits,
    quota: StorageQuota,
    /// None once the upload is finished.
    open: Option<(DatasetRecord, Area)>,
    current: Option<tokio::fs::File>,
    bytes: u64,
    files: u64,
    archives: u64,
}

impl Datasets {
    /// Begins an upload whose first file is called `file`: the data set exists from now on and is `uploading`.
    pub async fn begin_upload(
        &self,
        request: DatasetRequest,
        file: &str,
        created_by: Option<String>,
    ) -> Result<Upload> {
        if request.source.is_some() {
            return Err(ServiceError::field("/source", "a form contains the files itself; omit `source`"));
        }
        let settings = request.settings()?;
        let quota = self.storage_quota(&self.project_of(&request)).await?;
        let open = self.begin(&request, &request.name(file)?, "upload", created_by).await?;
        let limits = quota.bound(limits(&self.settings));
        let datasets = self.clone();
        Ok(Upload {
            datasets,
            request,
            settings,
            limits,
            quota,
            open: Some(open),
            current: None,
            bytes: 0,
            files: 0,
            archives: 0,
        })
    }

    /// Registers files on the server's machine (in place), on a hub, or that will be uploaded in parts.
    pub async fn register(&self, request: DatasetRequest, created_by: Option<String>) -> Result<DatasetRecord> {
        let settings = request.settings()?;
        let Some(source) = &request.source else {
            let detail =
                "say where the files are, e.g. {\"path\": \"/data/mine\"}, or send them as multipart/form-data";
            return Err(ServiceError::field("/source", detail));
        };
        let path = match source.origin()? {
            Origin::Path(path) => path,
            Origin::Hub { repository, folder } => {
                return self.register_from_hub(request, repository, folder, created_by).await;
            }
            Origin::Parts => return self.begin_parts(&request, created_by).await,
        };
        let roots =
            Roots { setting: "dataset_roots", variable: "VGPO_DATASET_ROOTS", folders: &self.settings.dataset_roots };
        let (name, path) = (request.name(&path)?, roots.allow(&path, "/source/path")?);
        let (record, area) = self.begin(&request, &name, "path", created_by).await?;
        let limits = limits(&self.settings);
        let check = Check { datasets: self.clone(), record, area, request, settings, limits, source: Some(path) };
        check.start().await
    }

    pub(super) async fn begin(
        &self,
        request: &DatasetRequest,
        name: &str,
        source: &str,
        created_by: Option<String>,
    ) -> Result<(DatasetRecord, Area)> {
        request.check_texts()?;
        self.access().storage_left(&self.project_of(request)).await?;
        if let Some(model) = &request.model {
            self.models().source(model, "/model").await?;
        }
        let id = new_id("ds");
        let dir = self.uploads_dir().join(&id);
        // The folder and its lock first: a record without them counts as left by a dead server.
        let area = tokio::task::spawn_blocking(move || Area::create(dir)).await;
        let area = area.map_err(|error| ServiceError::Internal(error.to_string()))?;
        let area = area.map_err(|error| ServiceError::Unavailable(format!("cannot create its folder: {error}")))?;
        let new = NewDataset {
            name: name.to_owned(),
            state: DatasetState::Uploading,
            source: source.to_owned(),
            train_rows: 0,
            eval_rows: 0,
            fingerprint: String::new(),
            card: json!({"description": request.description}),
            recommended: json!({}),
            project: self.project_of(request),
            created_by,
        };
        let created = match self.store.create_dataset(&id, new).await {
            // Other servers leave it alone from now on.
            Ok(record) => self.database.hold_dataset(&id, &self.server_id).await.map(|()| record),
            failed => failed,
        };
        match created {
            Ok(record) => {
                self.tell_news();
                Ok((record, area))
            }
            Err(error) => {
                area.remove();
                Err(error.into())
            }
        }
    }

    /// The project that a data set is for.
    pub(super) fn project_of(&self, request: &DatasetRequest) -> String {
        request.project.clone().unwrap_or_else(|| self.caller.project.clone())
    }

    /// Folder of uploads until they are checked.
    pub(super) fn uploads_dir(&self) -> PathBuf {
        self.settings.data_dir.join("uploads")
    }
}

impl Upload {
    /// The next file begins.
    pub async fn begin_file(&mut self, name: &str) -> Result<()> {
        self.end_file().await?;
        let bad = |detail: String| ServiceError::field("/file", detail);
        let inside = relative(name).map_err(bad)?;
        self.files += 1;
        if self.files > self.limits.files {
            return Err(bad(format!(
                "more than {} files; pack them into a zip file within that limit",
                self.limits.files
            )));
        }
        let Some((_, area)) = &self.open else { return Ok(()) };
        let path = if name.to_ascii_lowercase().ends_with(".zip") {
            self.archives += 1;
            area.dir.join(ARCHIVES).join(self.archives.to_string()).join(inside.file_name().unwrap_or_default())
        } else {
            area.dir.join(WORK).join(FILES).join(inside)
        };
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(|error| storage(&error))?;
        }
        let file = tokio::fs::File::create_new(&path).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => bad(format!("`{name}` was sent twice")),
            _ => storage(&error),
        })?;
        self.current = Some(file);
        Ok(())
    }

    /// The next bytes of the file.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let before = self.bytes;
        self.bytes += bytes.len() as u64;
        if before == 0 || before / LOOK_EVERY != self.bytes / LOOK_EVERY {
            let room = enough_room(&self.datasets.settings.data_dir, self.limits.free_bytes);
            room.map_err(|error| storage(&error))?;
        }
        self.quota.check(self.bytes)?;
        if self.bytes > self.limits.upload_bytes {
            let limit = self.limits.upload_bytes;
            let detail = format!("the files have more than {limit} bytes, which is the limit (max_dataset_bytes)");
            return Err(ServiceError::field("/file", detail));
        }
        match &mut self.current {
            Some(file) => file.write_all(bytes).await.map_err(|error| storage(&error)),
            None => Ok(()),
        }
    }

    async fn end_file(&mut self) -> Result<()> {
        match self.current.take() {
            // Errors of the last write are reported by the flush.
            Some(mut file) => file.flush().await.map_err(|error| storage(&error)),
            None => Ok(()),
        }
    }

    /// Every file has arrived: starts the check of the rows.
    pub async fn finish(mut self) -> Result<DatasetRecord> {
        self.end_file().await?;
        let Some((record, area)) = self.open.take() else {
            return Err(ServiceError::Internal("an upload was finished twice".to_owned()));
        };
        let (request, settings) = (self.request.clone(), self.settings.clone());
        let check = Check {
            datasets: self.datasets.clone(),
            record,
            area,
            request,
            settings,
            limits: self.limits,
            source: None,
        };
        check.start().await
    }

    /// Takes back what has begun. Afterwards the name is free again.
    pub async fn take_back(mut self) {
        if let Some((record, area)) = self.open.take() {
            self.datasets.forget(&record, area).await;
        }
    }
}

impl Datasets {
    async fn forget(&self, record: &DatasetRecord, area: Area) {
        if let Err(error) = self.store.delete_dataset(&record.id).await {
            tracing::warn!(dataset = %record.id, %error, "cannot forget an upload that broke off");
        }
        area.remove();
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some((record, area)) = self.open.take() else { return };
        let datasets = self.datasets.clone();
        // A client that went away.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { datasets.forget(&record, area).await });
        }
    }
}

/// A fault of the disk, or of a path that cannot be there, in the service's words.
pub(super) fn storage(error: &std::io::Error) -> ServiceError {
    use std::io::ErrorKind::{AlreadyExists, InvalidFilename, IsADirectory, NotADirectory};
    if matches!(error.kind(), AlreadyExists | InvalidFilename | IsADirectory | NotADirectory) {
        let detail = "the path cannot be used: it, or a parent folder of it, already exists in the data set as a file \
                      or folder; send it under another path";
        return ServiceError::field("/path", detail);
    }
    ServiceError::Unavailable(format!("the upload cannot be written to disk: {error}"))
}
