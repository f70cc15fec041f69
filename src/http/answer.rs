//! Large answers, written outside of the threads that handle requests.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::problem::Problem;
use crate::service::ServiceError;

/// An answer that may be large, as JSON.
pub async fn large<T: Serialize + Send + 'static>(answer: T) -> Result<Response, Problem> {
    let internal = |error: String| Problem::from(ServiceError::Internal(error));
    let written = tokio::task::spawn_blocking(move || serde_json::to_vec(&answer)).await;
    let json = written.map_err(|error| internal(error.to_string()))?.map_err(|error| internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from(json)).into_response())
}
