//! Engines: servers that hold models in memory for servers that do not.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An engine, as it last described itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EngineRecord {
    /// `eng_…`.
    pub id: String,
    /// Where servers reach it.
    pub address: String,
    /// Version of the program.
    pub version: String,
    /// The machine it runs on.
    pub host: String,
    /// Its device, e.g. `cpu` or `cuda:0`.
    pub device: String,
    /// The models in its memory, the one used last first.
    pub models: Vec<String>,
    /// Requests that wait, and rows that are being generated.
    pub load: u64,
    /// When it registered.
    pub started_at: DateTime<Utc>,
    /// When it was last heard of.
    pub heartbeat_at: DateTime<Utc>,
}

/// What an engine tells when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEngine {
    /// Its id, new for every process.
    pub id: String,
    /// Where servers reach it.
    pub address: String,
    /// Version of the program.
    pub version: String,
    /// The machine.
    pub host: String,
    /// Its device.
    pub device: String,
}

/// What an engine tells from time to time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineBeat {
    /// The models in its memory.
    pub models: Vec<String>,
    /// Requests that wait, and rows that are being generated.
    pub load: u64,
}
