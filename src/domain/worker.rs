//! Workers: the processes that run jobs.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::spec::DeviceClass;

/// A worker process, as of its last heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerRecord {
    /// `wrk_…`.
    pub id: String,
    /// Its activity, e.g. `trainer`.
    pub role: String,
    /// Version of the program.
    pub version: String,
    /// The machine it runs on.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// The kind of its device.
    pub device_class: DeviceClass,
    /// Its device, e.g. `cpu` or `cuda:0`.
    pub device: String,
    /// Memory of the device in bytes, if known.
    pub memory_bytes: Option<u64>,
    /// How many ranks it can start for a job.
    pub ranks: u32,
    /// What it is doing.
    pub state: WorkerState,
    /// The job it holds.
    pub job_id: Option<String>,
    /// When it registered.
    pub started_at: DateTime<Utc>,
    /// Its last heartbeat.
    pub heartbeat_at: DateTime<Utc>,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Waits for a job.
    Idle,
    /// Works on a job.
    Busy,
    /// Saves its job and takes no other.
    Draining,
    /// Has ended in an orderly way.
    Stopped,
    /// Its process died.
    Crashed,
}

impl WorkerState {
    /// The name used in JSON and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
        }
    }

    /// Should it be heard of?
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Idle | Self::Busy | Self::Draining)
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Idle, Self::Busy, Self::Draining, Self::Stopped, Self::Crashed].into_iter().find(|s| s.name() == name)
    }
}

/// What a worker tells when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWorker {
    /// Its id, new for every process.
    pub id: String,
    /// What it does.
    pub role: String,
    /// Version of the program.
    pub version: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// The kind of its device.
    pub device_class: DeviceClass,
    /// Its device.
    pub device: String,
    /// Memory of the device in bytes, if known.
    pub memory_bytes: Option<u64>,
    /// How many ranks it can start for a job.
    pub ranks: u32,
}
