//! What `/readyz` answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Stopwatch;

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Did all checks pass?
    pub ready: bool,
    /// One entry per part: `database` (with its schema) and `storage`.
    pub checks: Vec<Check>,
}

/// One checked part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// The part.
    pub name: String,
    /// Is it available?
    pub ok: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The last look, and how long ago that was.
pub(in crate::service) type LastLook = Arc<tokio::sync::Mutex<Option<(Stopwatch, Readiness)>>>;
