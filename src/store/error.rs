//! What can go wrong in the database, in terms that a service can answer with.

use crate::domain::job::{JobAction, JobState, LeaseToken};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such record.
    #[error("no {kind} `{id}`")]
    NotFound {
        /// What was looked for, e.g. `job`.
        kind: &'static str,
        /// Its id or name.
        id: String,
    },
    /// The job's state does not allow what was asked.
    #[error("{}", action.refused(job_id, *state, allowed))]
    IllegalAction {
        /// The job.
        job_id: String,
        /// Its state.
        state: JobState,
        /// What was asked.
        action: JobAction,
        /// What may be asked instead.
        allowed: Vec<JobAction>,
    },
    /// The worker no longer holds the job: nothing was written.
    #[error("attempt {attempt} of job `{job_id}` has lost its lease")]
    LeaseLost {
        /// The job.
        job_id: String,
        /// The attempt of the worker that wanted to write.
        attempt: u32,
    },
    /// Something still needs the record: it was not deleted.
    #[error("{kind} `{id}` is held by: {}", holders.join(", "))]
    Held {
        /// What was to be deleted.
        kind: &'static str,
        /// Its id.
        id: String,
        /// What needs it.
        holders: Vec<String>,
    },
    /// The caller may not do that; the text says which role is needed.
    #[error("{0}")]
    Forbidden(String),
    /// A value cannot be stored because it contradicts another record.
    #[error("{0}")]
    Conflict(String),
    /// The address names a database that cannot be used.
    #[error("database `{url}`: {problem}")]
    Unsupported {
        /// The address, without secrets.
        url: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The database's schema does not fit the program.
    #[error("database schema: {0}")]
    Schema(String),
    /// A stored value cannot be read.
    #[error("stored {what} is damaged: {problem}")]
    Damaged {
        /// Which value.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// The database cannot be reached, is busy, or its machine has run out of something (the disk is full): the same
    /// call may succeed later. A write may or may not have happened when the connection was lost at its very end.
    #[error("the database cannot answer now: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database itself failed.
    #[error("database: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Result of a store call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The error of a write with an outdated token.
pub(super) fn lease_lost(token: &LeaseToken) -> StoreError {
    StoreError::LeaseLost { job_id: token.job_id.clone(), attempt: token.attempt }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if may_pass(&error) { Self::Unavailable(Box::new(error)) } else { Self::Database(Box::new(error)) }
    }
}

/// Is it the connection or the moment that failed, so that the same call may succeed later?
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(told) => told.code().is_some_and(|code| passing_code(&code) || machine_code(&code)),
        _ => false,
    }
}

/// Is the connection unusable? SQLite rolls a transaction back by itself where its machine fails.
pub(super) fn breaks_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(told) => {
            told.code().is_some_and(|code| machine_code(&code) || code.starts_with("08") || code.starts_with("57P"))
        }
        _ => false,
    }
}

/// The database's machine has run out of something, or its disk fails: both may be temporary.
///
/// Postgres: insufficient resources (class 53: disk full, out of memory, too many connections), system error (class
/// 58). SQLite, whose extended codes hold the plain one in the lowest byte: out of memory (7), read-only (8), I/O
/// error (10), full (13), cannot open (14).
fn machine_code(code: &str) -> bool {
    if code.len() == 5 {
        return code.starts_with("53") || code.starts_with("58");
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 7 | 8 | 10 | 13 | 14))
}

/// Postgres: connection lost (class 08), shutting down or starting (57P01 to 57P03), a statement took too long (57014),
/// waited too long for a lock (55P03), deadlock and serialization (class 40). SQLite: busy (5) and locked (6).
fn passing_code(code: &str) -> bool {
    matches!(code, "57P01" | "57P02" | "57P03" | "57014" | "55P03" | "5" | "6" | "261" | "517")
        || (code.len() == 5 && (code.starts_with("08") || code.starts_with("40")))
}
