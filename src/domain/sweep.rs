//! Sweeps: one job submitted many times with different settings.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A set of jobs that differ in a few settings only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sweep {
    /// `swp_…`; sorts by creation time.
    pub id: String,
    /// A display name.
    pub name: String,
    /// The project it belongs to.
    pub project: String,
    /// Who submitted it.
    pub created_by: Option<String>,
    /// The job that every point starts from, as it was requested.
    #[schema(value_type = Object)]
    pub job: Value,
    /// The varied settings: JSON pointer -> values.
    #[schema(value_type = Object)]
    pub grid: Map<String, Value>,
    /// Number of jobs.
    pub points: u64,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
}

/// The settings that tell a job from the others of its sweep: JSON pointer -> value.
pub type SweepSettings = BTreeMap<String, Value>;

/// A job's place in its sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SweepPoint {
    /// The sweep.
    pub id: String,
    /// The settings that distinguish it from the others: JSON pointer -> value.
    #[schema(value_type = Object)]
    pub settings: SweepSettings,
}

/// A sweep to be inserted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSweep {
    /// A display name.
    pub name: String,
    /// The project it belongs to.
    pub project: String,
    /// Who submits it.
    pub created_by: Option<String>,
    /// The job that every point starts from, as it was requested.
    pub job: Value,
    /// The varied settings: JSON pointer -> values.
    pub grid: Map<String, Value>,
}

/// Which sweeps a list holds; an empty filter holds all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SweepFilter {
    /// Of this project.
    pub project: Option<String>,
}
