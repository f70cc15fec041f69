//! The `Idempotency-Key` header around a creating call.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::Problem;
use crate::service::idempotency::Idempotent;
use crate::service::{Service, ServiceError};

const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotent-replayed";

/// Carries a creating call out once per key; a repeat gets the first answer again.
///
/// The work runs in a task of its own: a client that hangs up does not leave it half done with its key in flight.
pub async fn once<T, F>(
    service: &Arc<Service>,
    headers: &HeaderMap,
    route: &str,
    body: &[u8],
    work: F,
) -> Result<Response, Problem>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<(StatusCode, T), ServiceError>> + Send + 'static,
{
    let request = match headers.get(KEY) {
        None => None,
        Some(key) => {
            let key = key.to_str().unwrap_or_default();
            match service.begin_idempotent(key, route, body).await? {
                Idempotent::CarryOut(request) => Some(request),
                Idempotent::Replay { status, body } => {
                    let mut response = answer(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), body);
                    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                    return Ok(response);
                }
            }
        }
    };
    let service = Arc::clone(service);
    let task = tokio::spawn(async move {
        let done = work.await.and_then(|(status, value)| {
            let body = serde_json::to_vec(&value).map_err(|error| ServiceError::Internal(error.to_string()))?;
            Ok((status, body))
        });
        if let Some(request) = request {
            let kept = done.as_ref().ok().map(|(status, body)| (status.as_u16(), body.as_slice()));
            service.finish_idempotent(&request, kept).await?;
        }
        done
    });
    let (status, body) = task.await.map_err(|error| ServiceError::Internal(error.to_string()))??;
    Ok(answer(status, body))
}

fn answer(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}
