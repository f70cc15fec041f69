//! Lines of a job's log.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When it was written.
    pub time: DateTime<Utc>,
    /// Its level.
    pub level: LogLevel,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// The text.
    pub message: String,
}

/// Level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something may not be meant.
    Warn,
    /// The course of things.
    Info,
}

impl LogLevel {
    /// The name in plain logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
        }
    }
}

impl std::fmt::Display for LogLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = self.time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        write!(f, "{time} {:5} [{}] {}", self.level.name(), self.attempt, self.message)
    }
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// Lines, oldest first.
    pub data: Vec<LogLine>,
    /// Are there more lines at the moment?
    pub has_more: bool,
    /// Value of `after` to continue after the last line, now or later.
    pub next: String,
}
