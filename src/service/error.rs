//! Errors of the service, in terms that HTTP and the command line can answer with.

use crate::domain::field_error::FieldError;
use crate::domain::job::{JobAction, JobState};
use crate::serving::ServingError;
use crate::store::StoreError;

/// An error of the service.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The object does not exist.
    #[error("there is no {kind} `{id}`")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// Its id or name.
        id: String,
    },
    /// Fields of the request are wrong.
    #[error("{message}")]
    Invalid {
        /// The whole in one line.
        message: String,
        /// Field by field.
        errors: Vec<FieldError>,
    },
    /// The job's state forbids the action.
    #[error("{}", action.refused(job_id, *state, allowed))]
    IllegalAction {
        /// The job.
        job_id: String,
        /// Its state.
        state: JobState,
        /// What was asked.
        action: JobAction,
        /// What is allowed instead.
        allowed: Vec<JobAction>,
    },
    /// Something else still needs it.
    #[error("{kind} `{id}` is in use by: {}", holders.join(", "))]
    Held {
        /// What was to be deleted.
        kind: &'static str,
        /// Its id.
        id: String,
        /// Who needs it.
        holders: Vec<String>,
    },
    /// The caller may not do that; the text says which role is needed.
    #[error("{0}")]
    Forbidden(String),
    /// What opens the server is missing, wrong, revoked or run out.
    #[error("{0}")]
    Unauthorized(String),
    /// The request contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// The `Idempotency-Key` came before with another body.
    #[error("this Idempotency-Key was used with another body; send the same body, or use a new key")]
    IdempotencyMismatch,
    /// The request with this `Idempotency-Key` is still being answered.
    #[error("a request with this Idempotency-Key is being answered right now; try again shortly")]
    IdempotencyInFlight,
    /// Too many requests wait already.
    #[error("{message}")]
    Overloaded {
        /// What is full, and its limit.
        message: String,
        /// Seconds until a repeat makes sense.
        retry_after: u32,
    },
    /// A part that is needed does not work at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// No engine is available.
    #[error("{0}")]
    NoEngine(String),
    /// A fault of the program or its machine; the text is for the log, not for the client.
    #[error("{0}")]
    Internal(String),
}

impl ServiceError {
    /// One bad field.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(pointer, detail)])
    }

    /// Several bad fields.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let message = match errors.as_slice() {
            [one] => one.detail.clone(),
            many => format!("{} fields of the request are invalid", many.len()),
        };
        Self::Invalid { message, errors }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { kind, id } => Self::NotFound { kind, id },
            StoreError::IllegalAction { job_id, state, action, allowed } => {
                Self::IllegalAction { job_id, state, action, allowed }
            }
            StoreError::Held { kind, id, holders } => Self::Held { kind, id, holders },
            StoreError::Forbidden(message) => Self::Forbidden(message),
            StoreError::Conflict(message) => Self::Conflict(message),
            StoreError::Unavailable(error) => {
                tracing::error!(%error, "the database does not answer");
                let detail = "the database does not answer or cannot write at the moment (a restart, a full disk); try \
                             again shortly";
                Self::Unavailable(detail.to_owned())
            }
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<ServingError> for ServiceError {
    fn from(error: ServingError) -> Self {
        let message = error.to_string();
        match error {
            ServingError::Invalid(errors) => Self::invalid(errors),
            ServingError::ModelFolder { .. } => Self::field("/model", message),
            ServingError::Overloaded { retry_after, .. } | ServingError::Saturated { retry_after, .. } => {
                Self::Overloaded { message, retry_after: u32::try_from(retry_after).unwrap_or(u32::MAX) }
            }
            ServingError::NoEngine { .. } => Self::NoEngine(message),
            ServingError::Stopped => Self::Unavailable(message),
            ServingError::Engine(_) => Self::Internal(message),
        }
    }
}

/// Result of a service call.
pub type Result<T> = std::result::Result<T, ServiceError>;
