//! Settings of jobs as other builds stored them, which this build may not be able to read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::spec::JobSpec;

/// The settings of a stored job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StoredSpec {
    /// Settings of a form that this program knows.
    Known(Box<JobSpec>),
    /// Settings that a later program stored. They can be shown, and the job cancelled; it cannot be run, nor anything
    /// that needs their meaning.
    Later(Value),
}

impl StoredSpec {
    /// The settings, where this program knows their form.
    pub fn known(&self) -> Option<&JobSpec> {
        match self {
            Self::Known(spec) => Some(spec),
            Self::Later(_) => None,
        }
    }
}

impl From<JobSpec> for StoredSpec {
    fn from(spec: JobSpec) -> Self {
        Self::Known(Box::new(spec))
    }
}
