//! Warnings about jobs: what works but may not be meant.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that works but may not be meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobWarning {
    /// A stable name.
    pub code: String,
    /// JSON pointer of the setting it is about.
    pub pointer: String,
    /// What it means and what to do.
    pub detail: String,
}
