//! Models that are being downloaded. Downloads are kept in memory: a server that stops forgets the request, but not
//! the bytes, and the same request continues where it stopped.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};

use super::entry::ModelEntry;
use crate::domain::model::{DownloadProgress, ModelState};

/// Running and failed downloads, by name.
#[derive(Debug, Default)]
pub(in crate::service) struct Downloads(Mutex<BTreeMap<String, ModelEntry>>);

impl Downloads {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, ModelEntry>> {
        self.0.lock()
    }

    /// Everything, by name.
    pub(super) fn all(&self) -> Vec<ModelEntry> {
        self.entries().values().cloned().collect()
    }

    /// One of them.
    pub(super) fn get(&self, name: &str) -> Option<ModelEntry> {
        self.entries().get(name).cloned()
    }

    /// Is it being downloaded?
    pub(super) fn is_under_way(&self, name: &str) -> bool {
        self.entries().get(name).is_some_and(|entry| entry.state == ModelState::Downloading)
    }

    /// Begins one, unless it is running already.
    pub(super) fn begin(&self, entry: &ModelEntry) -> bool {
        let mut entries = self.entries();
        if entries.get(&entry.id).is_some_and(|old| old.state == ModelState::Downloading) {
            return false;
        }
        entries.insert(entry.id.clone(), entry.clone());
        true
    }

    pub(super) fn progress(&self, name: &str, progress: &DownloadProgress) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.progress = Some(progress.clone());
        }
    }

    pub(super) fn failed(&self, name: &str, problem: &str) {
        if let Some(entry) = self.entries().get_mut(name) {
            (entry.state, entry.problem) = (ModelState::Failed, Some(problem.to_owned()));
        }
    }

    /// Forgets one; true if there was one.
    pub(super) fn forget(&self, name: &str) -> bool {
        self.entries().remove(name).is_some()
    }
}

/// What is known of a model before its files are.
#[derive(Debug, Clone)]
pub(super) struct Coming {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) project: String,
    pub(super) created_by: Option<String>,
}
