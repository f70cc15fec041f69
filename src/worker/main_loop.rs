//! The worker's main loop: lock the device, register, claim and run jobs until told to stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::job::LeasedJob;
use crate::domain::worker::{NewWorker, WorkerState};
use crate::footprint::machine;
use crate::store::{ClaimRequest, StoreError};

use super::attempt;
use super::config::WorkerConfig;
use super::device::{DeviceLock, LockError, host_name, show_life};

/// A worker that was silent for this many intervals does not count among those that wait.
const HEARD: u32 = 3;

/// Why a worker could not start or continue.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Another local worker has the device.
    #[error(
        "device `{device}`: {problem}; only one worker per device is possible: stop the other one or choose another \
        device"
    )]
    DeviceTaken {
        /// The device.
        device: String,
        /// Why.
        problem: String,
    },
    /// A folder cannot be used.
    #[error("cannot use {path}: {source}")]
    Folder {
        /// The folder or file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The database failed while the worker started.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The worker's parent is gone; its job was returned to the queue. The process must exit now: a trainer may still
    /// be running.
    #[error("the server that started this worker is gone")]
    Orphaned,
    /// The running job could not be saved in time; it was returned to the queue. The process must exit now: a trainer
    /// is running.
    #[error("the job could not be saved within the grace time; it was returned to the queue at its last checkpoint")]
    OutOfGrace,
}

/// Runs until `drain` is cancelled (the running job is saved and returned to the queue) or `abandon` is (it is returned
/// without saving). Retries when the database fails.
pub async fn run(
    config: WorkerConfig,
    drain: CancellationToken,
    abandon: CancellationToken,
) -> Result<(), WorkerError> {
    let lock = DeviceLock::take(&config.lock_dir, config.device, &config.id).map_err(|e| match e {
        LockError::Taken(_) => WorkerError::DeviceTaken { device: config.device.to_string(), problem: e.to_string() },
        LockError::Io(path, source) => WorkerError::Folder { path: path.display().to_string(), source },
    })?;
    if let Some(dead) = &lock.died_before {
        config.store.release_worker(dead, &format!("its worker {dead} died")).await?;
    }
    empty(&config)?;
    register(&config).await?;
    tracing::info!(worker = %config.id, device = %config.device, "worker started");
    let mut since_presence = Duration::ZERO;
    let mut poll = config.timings.poll;
    while !drain.is_cancelled() && !abandon.is_cancelled() {
        let pause = match next_job(&config).await {
            Ok(Some(leased)) => {
                if !attempt::run(&config, leased, &drain, &abandon).await {
                    return Err(if abandon.is_cancelled() { WorkerError::Orphaned } else { WorkerError::OutOfGrace });
                }
                since_presence = config.timings.presence;
                Duration::ZERO
            }
            Ok(None) => poll,
            Err(error) => {
                tracing::warn!(%error, "cannot look for a job");
                config.timings.heartbeat
            }
        };
        if since_presence >= config.timings.presence {
            since_presence = Duration::ZERO;
            tell_presence(&config, WorkerState::Idle).await;
            poll = pace(&config).await.unwrap_or(poll);
        }
        since_presence += pause;
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            () = drain.cancelled() => (),
            () = abandon.cancelled() => (),
        }
    }
    tell_presence(&config, WorkerState::Stopped).await;
    let lock_path = config.lock_dir.display().to_string();
    lock.release().map_err(|source| WorkerError::Folder { path: lock_path, source })
}

async fn next_job(config: &WorkerConfig) -> Result<Option<LeasedJob>, StoreError> {
    // Most polls find no work and should not take the write lock.
    if !config.store.has_work(config.device.class(), config.ranks).await? {
        return Ok(None);
    }
    let request = ClaimRequest {
        worker_id: config.id.clone(),
        device: config.device.class(),
        ranks: config.ranks,
        ttl: config.timings.lease_ttl,
    };
    config.store.claim(&request).await
}

/// How long to wait between polls, by how many other workers wait too; none when the database does not tell.
async fn pace(config: &WorkerConfig) -> Option<Duration> {
    let since = config.clock.now() - config.timings.presence * HEARD;
    let idle = config.store.idle_workers(config.device.class(), since).await;
    idle.inspect_err(|error| tracing::debug!(%error, "cannot count idle workers"))
        .ok()
        .map(|n| config.timings.poll_among(n))
}

async fn register(config: &WorkerConfig) -> Result<(), StoreError> {
    let memory_bytes = machine::device_memory(config.device);
    let worker = NewWorker {
        id: config.id.clone(),
        role: "trainer".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: host_name(),
        pid: std::process::id(),
        device_class: config.device.class(),
        device: config.device.to_string(),
        memory_bytes,
        ranks: config.ranks,
    };
    config.store.register_worker(worker).await.map(drop)
}

async fn tell_presence(config: &WorkerConfig, state: WorkerState) {
    show_life(&config.lock_dir, config.device);
    if let Err(error) = config.store.worker_heartbeat(&config.id, state, None).await {
        tracing::warn!(%error, "cannot send the worker's heartbeat");
    }
}

/// Removes files of earlier attempts on this device; their worker is dead, because this worker has the lock.
fn empty(config: &WorkerConfig) -> Result<(), WorkerError> {
    let folder = config.attempt_dir();
    let fault = |source| WorkerError::Folder { path: folder.display().to_string(), source };
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
        _ => (),
    }
    std::fs::create_dir_all(&folder).map_err(fault)
}
