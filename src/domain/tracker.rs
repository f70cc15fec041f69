//! Trackers: programs of others that get the metrics of a run while it trains.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A program that keeps metrics of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackerKind {
    /// An MLflow tracking server, at the setting `mlflow_url`.
    Mlflow,
    /// A trackio server, at the setting `trackio_url`.
    Trackio,
}

/// Trackers that are not told by a server, and who tells them.
pub const ELSEWHERE: [(&str, &str); 1] =
    [("wandb", "its protocol is its client's own; run scripts/wandb_sync.py with the id of the run")];

impl TrackerKind {
    /// Every name.
    pub const NAMES: [&'static str; 2] = ["mlflow", "trackio"];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mlflow => "mlflow",
            Self::Trackio => "trackio",
        }
    }

    /// The tracker with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Mlflow, Self::Trackio].into_iter().find(|kind| kind.name() == name)
    }

    /// The setting that has its address.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Mlflow => "mlflow_url",
            Self::Trackio => "trackio_url",
        }
    }
}

/// How far a tracker has the metrics of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tracking {
    /// The run.
    pub run_id: String,
    /// The tracker.
    pub tracker: TrackerKind,
    /// What the tracker calls the run; null: it does not know it yet.
    pub remote_id: Option<String>,
    /// The tracker has everything up to this event.
    pub seq: i64,
    /// Failed tries since the last one that succeeded.
    pub tries: u32,
    /// What the last try ended with, if it failed.
    pub problem: Option<String>,
    /// When there is more to be sent; null: the run has ended and the tracker has all of it, or it was given up.
    pub next_at: Option<DateTime<Utc>>,
}
