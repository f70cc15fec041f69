//! Everything a worker needs.

use std::path::PathBuf;
use std::sync::Arc;

use super::device::folder_name;
use super::joblog::JobLog;
use super::runner::JobRunner;
use crate::artifacts::ArtifactStore;
use crate::clock::Clock;
use crate::config::worker::WorkerTimings;
use crate::domain::device::DeviceName;
use crate::store::Database;

/// Everything a worker needs.
#[derive(Clone)]
pub struct WorkerConfig {
    /// `wrk_…`, new for every process.
    pub id: String,
    /// The device it works on.
    pub device: DeviceName,
    /// How many ranks it can start for a job.
    pub ranks: u32,
    /// The database.
    pub store: Arc<dyn Database>,
    /// Where checkpoints go.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Runs the jobs.
    pub runner: Arc<dyn JobRunner>,
    /// The log of its current job.
    pub log: JobLog,
    /// Intervals of polling, heartbeats and retries.
    pub timings: WorkerTimings,
    /// For files of attempts, on the file system of the artifacts; this device's part is emptied at start.
    pub work_dir: PathBuf,
    /// Folder of device locks, shared by all workers of a machine.
    pub lock_dir: PathBuf,
}

impl WorkerConfig {
    /// Parent folder of this device's attempts.
    pub(super) fn attempt_dir(&self) -> PathBuf {
        self.work_dir.join(folder_name(self.device))
    }
}
