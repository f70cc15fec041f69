//! Models on their way from a hub. What is under way is kept in memory: a server that stops forgets the wish, but not the
//! bytes, and the same request goes on where it stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::entry::ModelEntry;
use super::register::Coming;
use crate::domain::model::{DownloadProgress, ModelState};
use crate::hub::{Hub, Snapshot, model_files};
use crate::prompt::Processor;
use crate::service::hub::at_hub;
use crate::service::{Result, Service, ServiceError};

/// Progress reports that may wait to be told; later ones are left out then.
const WAITING: usize = 64;

/// What is on its way, and what did not come, by name.
#[derive(Debug, Default)]
pub(crate) struct Downloads(Mutex<BTreeMap<String, ModelEntry>>);

impl Downloads {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, ModelEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything, by name.
    pub(super) fn all(&self) -> Vec<ModelEntry> {
        self.entries().values().cloned().collect()
    }

    /// One of them.
    pub(super) fn get(&self, name: &str) -> Option<ModelEntry> {
        self.entries().get(name).cloned()
    }

    /// Does it come right now?
    pub(super) fn is_under_way(&self, name: &str) -> bool {
        self.entries().get(name).is_some_and(|entry| entry.state == ModelState::Downloading)
    }

    /// Begins one, unless it comes already.
    fn begin(&self, entry: &ModelEntry) -> bool {
        let mut entries = self.entries();
        if entries.get(&entry.id).is_some_and(|old| old.state == ModelState::Downloading) {
            return false;
        }
        entries.insert(entry.id.clone(), entry.clone());
        true
    }

    fn progress(&self, name: &str, progress: &DownloadProgress) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.progress = Some(progress.clone());
        }
    }

    fn failed(&self, name: &str, problem: &str) {
        if let Some(entry) = self.entries().get_mut(name) {
            (entry.state, entry.problem) = (ModelState::Failed, Some(problem.to_owned()));
        }
    }

    /// Forgets one; true if there was one.
    pub(super) fn forget(&self, name: &str) -> bool {
        self.entries().remove(name).is_some()
    }
}

/// A model that is to be fetched.
pub(super) struct Download {
    pub(super) coming: Coming,
    pub(super) hub: Hub,
    pub(super) snapshot: Snapshot,
}

impl Download {
    /// Fetches in the background; the entry says `downloading` until the model is registered.
    pub(super) async fn start(self, service: &Arc<Service>) -> Result<ModelEntry> {
        let wanted = model_files(&self.snapshot).map_err(|error| at_hub(&error))?;
        let entry = self.entry(service);
        if !service.downloads.begin(&entry) {
            return Err(ServiceError::Conflict(format!("model `{}` is being downloaded already", entry.id)));
        }
        service.tell_model((&entry.id, &entry.project), Some(ModelState::Downloading), None, None).await;
        tokio::spawn(self.run(Arc::clone(service), wanted));
        Ok(entry)
    }

    fn entry(&self, service: &Service) -> ModelEntry {
        ModelEntry {
            id: self.coming.name.clone(),
            object: "model".to_owned(),
            created: service.clock.now().timestamp(),
            owned_by: self.coming.created_by.clone().unwrap_or_else(|| "vgpo".to_owned()),
            state: ModelState::Downloading,
            progress: None,
            problem: None,
            family: String::new(),
            parameters: 0,
            source: self.coming.source.clone(),
            project: self.coming.project.clone(),
            card: json!({}),
            recommended: json!({}),
        }
    }

    async fn run(self, service: Arc<Service>, wanted: Vec<String>) {
        let name = self.coming.name.clone();
        let coming = self.coming.clone();
        let project = coming.project.clone();
        let done = match self.fetch(&service, wanted).await {
            Ok(dir) => service.store_model(coming, dir).await.map(drop),
            Err(problem) => Err(problem),
        };
        match done {
            Ok(()) => {
                service.downloads.forget(&name);
            }
            Err(problem) => {
                tracing::warn!(model = name, problem, "a model did not come");
                service.downloads.failed(&name, &problem);
                service.tell_model((&name, &project), Some(ModelState::Failed), None, Some(problem)).await;
            }
        }
    }

    /// A thread of its own fetches, so that a server that stops need not wait for the hub.
    async fn fetch(self, service: &Service, wanted: Vec<String>) -> std::result::Result<PathBuf, String> {
        let (tell, mut told) = mpsc::channel::<DownloadProgress>(WAITING);
        let (send, receive) = oneshot::channel();
        let Self { coming, hub, snapshot } = self;
        std::thread::spawn(move || {
            let fetched = hub.fetch_model(&snapshot, &wanted, &Processor::check_folder, &mut |progress| {
                // A report that finds no room is left out; the next one says more.
                let _ = tell.try_send(progress);
            });
            send.send(fetched)
        });
        while let Some(progress) = told.recv().await {
            service.downloads.progress(&coming.name, &progress);
            service
                .tell_model((&coming.name, &coming.project), Some(ModelState::Downloading), Some(progress), None)
                .await;
        }
        let fetched = receive.await.map_err(|_| "the hub's client gave up".to_owned())?;
        fetched.map_err(|error| error.to_string())
    }
}
