//! Fetches a model from a hub in the background.

use std::path::PathBuf;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::described::described;
use super::downloads::Coming;
use super::entry::ModelEntry;
use crate::domain::model::{DownloadProgress, ModelState};
use crate::outbound::hub::{Hub, Snapshot, model_files};
use crate::prompt::Processor;
use crate::service::core::hub::at_hub;
use crate::service::models::Models;
use crate::service::{Result, ServiceError};

/// Most progress reports that may wait; further ones are dropped.
const WAITING: usize = 64;

/// A model that is to be fetched.
pub(super) struct Download {
    pub(super) coming: Coming,
    pub(super) hub: Hub,
    pub(super) snapshot: Snapshot,
}

impl Download {
    /// Fetches in the background; the entry says `downloading` until the model is registered.
    pub(super) async fn start(self, models: &Models) -> Result<ModelEntry> {
        let wanted = model_files(&self.snapshot).map_err(|error| at_hub(&error))?;
        let entry = self.entry(models);
        if !models.downloads.begin(&entry) {
            return Err(ServiceError::Conflict(format!("model `{}` is being downloaded already", entry.id)));
        }
        models.tell((&entry.id, &entry.project), Some(ModelState::Downloading), None, None).await;
        tokio::spawn(self.run(models.clone(), wanted));
        Ok(entry)
    }

    fn entry(&self, models: &Models) -> ModelEntry {
        ModelEntry {
            id: self.coming.name.clone(),
            object: "model".to_owned(),
            created: models.clock.now().timestamp(),
            owned_by: self.coming.created_by.clone().unwrap_or_else(|| "vgpo".to_owned()),
            state: ModelState::Downloading,
            progress: None,
            problem: None,
            family: String::new(),
            parameters: 0,
            source: self.coming.source.clone(),
            trained: None,
            project: self.coming.project.clone(),
            card: json!({}),
            recommended: json!({}),
        }
    }

    async fn run(self, models: Models, wanted: Vec<String>) {
        let name = self.coming.name.clone();
        let coming = self.coming.clone();
        let project = coming.project.clone();
        let done = self.fetch_and_store(coming, &models, wanted).await;
        match done {
            Ok(()) => {
                models.downloads.forget(&name);
            }
            Err(problem) => {
                tracing::warn!(model = name, problem, "a model could not be downloaded");
                models.downloads.failed(&name, &problem);
                models.tell((&name, &project), Some(ModelState::Failed), None, Some(problem)).await;
            }
        }
    }

    async fn fetch_and_store(
        self,
        coming: Coming,
        models: &Models,
        wanted: Vec<String>,
    ) -> std::result::Result<(), String> {
        let folder = described(self.fetch(models, wanted).await?).await?;
        models.store_model(coming, folder).await.map(drop).map_err(|error| error.to_string())
    }

    /// A thread of its own fetches, so that a server that stops need not wait for the hub.
    async fn fetch(self, models: &Models, wanted: Vec<String>) -> std::result::Result<PathBuf, String> {
        let (tell, mut told) = mpsc::channel::<DownloadProgress>(WAITING);
        let (send, receive) = oneshot::channel();
        let Self { coming, hub, snapshot } = self;
        std::thread::spawn(move || {
            let fetched = hub.fetch_model(&snapshot, &wanted, &Processor::check_folder, &mut |progress| {
                // A report that finds no room is dropped; the next one is newer.
                let _ = tell.try_send(progress);
            });
            send.send(fetched)
        });
        while let Some(progress) = told.recv().await {
            models.downloads.progress(&coming.name, &progress);
            models.tell((&coming.name, &coming.project), Some(ModelState::Downloading), Some(progress), None).await;
        }
        let fetched = receive.await.map_err(|_| "the hub's client failed".to_owned())?;
        fetched.map_err(|error| error.to_string())
    }
}
