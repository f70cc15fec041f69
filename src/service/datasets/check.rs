//! From files that have arrived to a ready or an invalid data set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::area::{ARCHIVES, Area, FILES, WORK};
use super::recover::broken_off;
use super::request::DatasetRequest;
use super::tokens::TokenCounter;
use crate::data::DataError;
use crate::data::files::{Prepared, Preparing, prepare, unpack};
use crate::domain::dataset::{
    DatasetLimits, DatasetRecord, DatasetReport, DatasetSettings, DatasetState, NewDataset, RowFault,
};
use crate::service::datasets::Datasets;
use crate::service::{Result, ServiceError};
use crate::starter;

/// A data set whose files have arrived.
pub(super) struct Check {
    pub(super) datasets: Datasets,
    pub(super) record: DatasetRecord,
    pub(super) area: Area,
    pub(super) request: DatasetRequest,
    pub(super) settings: DatasetSettings,
    pub(super) limits: DatasetLimits,
    /// Where the files stay, if they do.
    pub(super) source: Option<PathBuf>,
}

impl Check {
    /// Marks the data set as `validating` and checks its rows in the background.
    pub(super) async fn start(self) -> Result<DatasetRecord> {
        let (state, report) = (DatasetState::Validating, None);
        let new = self.state(state, report, None);
        let record = match self.datasets.store.update_dataset(&self.record.id, &new).await {
            Ok(record) => record,
            Err(error) => {
                self.area.remove();
                return Err(error.into());
            }
        };
        self.datasets.tell_news();
        tokio::spawn(self.run());
        Ok(record)
    }

    async fn run(self) {
        let (datasets, record) = (self.datasets.clone(), self.record.clone());
        let Err(error) = self.conclude().await else { return };
        tracing::error!(dataset = %record.id, %error, "a data set could not be registered");
        let invalid = broken_off(&record, format!("the data set could not be stored: {error}"));
        match datasets.store.update_dataset(&record.id, &invalid).await {
            Ok(_) => datasets.tell_news(),
            // The record stays `validating` until the next start, which detects that it was abandoned.
            Err(error) => tracing::error!(dataset = %record.id, %error, "a data set's final state could not be stored"),
        }
    }

    async fn conclude(self) -> Result<()> {
        let datasets = self.datasets.clone();
        let _turn = datasets.dataset_checks.acquire().await;
        let counter = self.counter().await;
        let artifacts = Arc::clone(self.datasets.artifacts().await?);
        let internal = |error: tokio::task::JoinError| ServiceError::Internal(error.to_string());
        let work = move || {
            let result = self.look(counter);
            (self, result)
        };
        let (this, result) = tokio::task::spawn_blocking(work).await.map_err(internal)?;
        let prepared = match result {
            Ok(prepared) => prepared,
            // The server stops: the next start marks the data set as invalid.
            Err(DataError::Stopped) => return Ok(()),
            Err(error) => {
                let fault = RowFault { file: String::new(), row: None, problem: error.to_string() };
                let report = DatasetReport { errors: vec![fault], ..DatasetReport::default() };
                return this.tell(DatasetState::Invalid, report, None, 0).await;
            }
        };
        let report = prepared.report.clone();
        if !prepared.is_valid() {
            return this.tell(DatasetState::Invalid, report, None, 0).await;
        }
        let (store, key) = (Arc::clone(&artifacts), this.record.artifact_key());
        let (from, at) = (this.area.dir.join(WORK), key.clone());
        let published = tokio::task::spawn_blocking(move || store.publish_dir(&from, &at)).await.map_err(internal)?;
        let manifest = published.map_err(|error| ServiceError::Internal(error.to_string()))?;
        this.tell(DatasetState::Ready, report, Some(&prepared), manifest.size_bytes).await.inspect_err(|_| {
            // Nothing may be left that no record knows.
            if let Err(error) = artifacts.delete(&key) {
                tracing::warn!(%key, %error, "cannot remove the files of a data set");
            }
        })
    }

    /// Unpacks archives and reads every row. Blocks.
    fn look(&self, mut counter: Option<TokenCounter>) -> std::result::Result<Prepared, DataError> {
        let (work, archives) = (self.area.dir.join(WORK), self.area.dir.join(ARCHIVES));
        let files = work.join(FILES);
        for number in 1.. {
            // Each has a folder of its own, in the order in which they came.
            let Some(archive) = only_file(&archives.join(number.to_string())) else { break };
            unpack(&archive, &files, &self.limits)?;
            // Archive and content at once are needed no longer than this.
            std::fs::remove_file(&archive)
                .map_err(|source| DataError::File { path: archive.display().to_string(), source })?;
        }
        let what = Preparing {
            name: &self.record.name,
            source: self.source.as_deref().unwrap_or(&files),
            stays: self.source.is_some(),
            settings: &self.settings,
            limits: &self.limits,
        };
        let stopping = self.datasets.stopping.clone();
        let mut prepared = prepare(&what, &work, &mut |example| {
            if let Some(counter) = &mut counter {
                counter.add(example);
            }
            !stopping.is_cancelled()
        })?;
        prepared.report.tokens = counter.and_then(|counter| counter.report());
        Ok(prepared)
    }

    /// Stores how it ended, and removes the upload's folder.
    async fn tell(
        self,
        state: DatasetState,
        report: DatasetReport,
        prepared: Option<&Prepared>,
        size_bytes: u64,
    ) -> Result<()> {
        let mut new = self.state(state, Some(&report), prepared);
        new.card["size_bytes"] = size_bytes.into();
        let told = self.datasets.store.update_dataset(&self.record.id, &new).await;
        self.datasets.tell_news();
        let area = self.area;
        let _ = tokio::task::spawn_blocking(move || area.remove()).await;
        told.map(drop).map_err(Into::into)
    }

    fn state(&self, state: DatasetState, report: Option<&DatasetReport>, prepared: Option<&Prepared>) -> NewDataset {
        let mut settings = self.settings.clone();
        if let Some(prepared) = prepared {
            settings.columns = prepared.columns.clone();
        }
        let recommended = if state == DatasetState::Ready { DatasetRequest::recommended(&settings) } else { json!({}) };
        let path = self.source.as_ref().map(|path| path.display().to_string());
        NewDataset {
            name: self.record.name.clone(),
            state,
            source: self.record.source.clone(),
            train_rows: prepared.map_or(0, |p| p.train_rows),
            eval_rows: prepared.map_or(0, |p| p.eval_rows),
            fingerprint: prepared.map(|p| p.fingerprint.clone()).unwrap_or_default(),
            card: json!({
                "description": self.request.description,
                "path": path,
                "settings": settings,
                "report": report,
            }),
            recommended,
            project: self.record.project.clone(),
            created_by: self.record.created_by.clone(),
        }
    }

    /// Counts tokens with the model that was named, else with the starter; none where it cannot be read.
    async fn counter(&self) -> Option<TokenCounter> {
        let name = self.request.model.as_deref().unwrap_or(starter::NAME).to_owned();
        let source = self.datasets.models().source(&name, "/model").await.ok()?;
        let dir = self.datasets.models().dir(&source.base).await.ok()?;
        tokio::task::spawn_blocking(move || TokenCounter::open(&dir, name)).await.ok()?
    }
}

fn only_file(folder: &Path) -> Option<PathBuf> {
    Some(std::fs::read_dir(folder).ok()?.next()?.ok()?.path())
}
