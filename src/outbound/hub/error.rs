//! What can go wrong at the hub.

use hf_hub::api::sync::ApiError;

use crate::domain::repository::RepositoryError;

/// An error of the hub room.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A name that is none.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The hub does not answer.
    #[error(
        "cannot reach the hub {endpoint}: {problem}; download it elsewhere and register the folder ({{\"source\": \
        {{\"path\": …}}}}), or name another hub in the setting hf_endpoint (HF_ENDPOINT)"
    )]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// Why.
        problem: String,
    },
    /// The hub has no such thing.
    #[error("the hub {endpoint} has no `{what}`; check its name and revision")]
    Unknown {
        /// The hub's address.
        endpoint: String,
        /// What was asked for.
        what: String,
    },
    /// The hub requires an access token.
    #[error(
        "the hub {endpoint} does not show `{what}` to everybody, or has none: accept its terms there if it has some, \
        and set hf_token (VGPO_HF_TOKEN or VGPO_HF_TOKEN_FILE)"
    )]
    Refused {
        /// The hub's address.
        endpoint: String,
        /// What was asked for.
        what: String,
    },
    /// A repository without what is needed.
    #[error("`{id}` is not a model in Hugging Face layout: it has no config.json with .safetensors files")]
    NoModel {
        /// The repository.
        id: String,
    },
    /// A model whose settings tell that it cannot be used; its weights were not fetched.
    #[error("`{id}` cannot be used: {problem}")]
    Unusable {
        /// The repository.
        id: String,
        /// Why.
        problem: String,
    },
    /// A repository without rows.
    #[error("`{id}` has no rows{place}: it needs .parquet, .jsonl, .ndjson or .zip files; name another `folder`")]
    NoRows {
        /// The repository.
        id: String,
        /// Where they were looked for.
        place: String,
    },
    /// The hub says what cannot be.
    #[error("the hub {endpoint} gives an answer that cannot be used: {problem}")]
    Answer {
        /// The hub's address.
        endpoint: String,
        /// What is wrong.
        problem: String,
    },
    /// A file did not arrive as it is.
    #[error("{file} arrived damaged ({problem}) and was removed; try again")]
    Damaged {
        /// The file.
        file: String,
        /// How it differs.
        problem: String,
    },
    /// The cache folder cannot be used.
    #[error("the cache folder cannot be used (setting hf_cache): {0}")]
    Cache(std::io::Error),
}

impl HubError {
    /// What an error of the client means when `what` was asked for.
    pub(super) fn of(source: ApiError, endpoint: &str, what: &str) -> Self {
        let (endpoint, what) = (endpoint.to_owned(), what.to_owned());
        match source {
            ApiError::TooManyRetries(inner) => Self::of(*inner, &endpoint, &what),
            ApiError::IoError(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::Unreachable { endpoint, problem: format!("the connection broke off in {what}") }
            }
            ApiError::IoError(source) => Self::Cache(source),
            ApiError::RequestError(source) => match *source {
                ureq::Error::StatusCode(404) => Self::Unknown { endpoint, what },
                ureq::Error::StatusCode(401 | 403) => Self::Refused { endpoint, what },
                ureq::Error::Json(error) => Self::Answer { endpoint, problem: error.to_string() },
                other => Self::Unreachable { endpoint, problem: other.to_string() },
            },
            other => Self::Answer { endpoint, problem: other.to_string() },
        }
    }
}
