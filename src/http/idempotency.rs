//! The `Idempotency-Key` header around a creating call.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::Problem;
use crate::service::access::idempotency::{IdempotencyRequest, Idempotent};
use crate::service::{Service, ServiceError};

const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotent-replayed";

/// What to do with a creating call.
pub enum Begun {
    /// It was answered before, with this.
    Replayed(Response),
    /// It was carried out before, but not answered: answer with what it made, which has this id, and call [`finish`].
    Made(IdempotencyRequest, String),
    /// Carry it out, then call [`finish`] with what is inside.
    New(Option<IdempotencyRequest>),
}

/// Looks a creating call up by its key, if it has one; `body` is everything that makes it this call and no other.
pub async fn begin(service: &Service, headers: &HeaderMap, route: &str, body: &[u8]) -> Result<Begun, Problem> {
    let Some(key) = headers.get(KEY) else { return Ok(Begun::New(None)) };
    match service.access().begin_idempotent(key.to_str().unwrap_or_default(), route, body).await? {
        Idempotent::CarryOut(request) => Ok(Begun::New(Some(request))),
        Idempotent::Made { request, target } => Ok(Begun::Made(request, target)),
        Idempotent::Replay { status, body } => {
            let response = answer(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), body);
            replayed(Ok(response)).map(Begun::Replayed)
        }
    }
}

/// The answer of a call that was carried out; a repeat gets it again, unless it was a refusal.
pub async fn finish<T: Serialize>(
    service: &Service,
    request: Option<IdempotencyRequest>,
    done: Result<(StatusCode, T), Problem>,
) -> Result<Response, Problem> {
    let done = done.and_then(|(status, value)| {
        let body = serde_json::to_vec(&value).map_err(|error| ServiceError::Internal(error.to_string()))?;
        Ok((status, body))
    });
    if let Some(request) = request {
        let kept = done.as_ref().ok().map(|(status, body)| (status.as_u16(), body.as_slice()));
        service.access().finish_idempotent(&request, kept).await?;
    }
    done.map(|(status, body)| answer(status, body))
}

/// Carries a creating call out once per key; a repeat gets the first answer again, or what `again` answers about the
/// thing that was made, when the first sender's server died before it could keep the answer.
///
/// The work runs in a task of its own: a client that hangs up does not leave it half done with its key in flight.
pub async fn once<T, F, G>(
    service: &Service,
    headers: &HeaderMap,
    route: &str,
    body: &[u8],
    work: F,
    again: impl FnOnce(Service, String) -> G,
) -> Result<Response, Problem>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<(StatusCode, T), ServiceError>> + Send + 'static,
    G: Future<Output = Result<(StatusCode, T), ServiceError>>,
{
    let request = match begin(service, headers, route, body).await? {
        Begun::Replayed(response) => return Ok(response),
        Begun::Made(request, target) => {
            return replayed(
                finish(service, Some(request), again(service.clone(), target).await.map_err(Problem::from)).await,
            );
        }
        Begun::New(request) => request,
    };
    let service = service.clone();
    let task = tokio::spawn(async move { finish(&service, request, work.await.map_err(Problem::from)).await });
    task.await.map_err(|error| ServiceError::Internal(error.to_string()))?
}

/// The answer to a repeat.
pub fn replayed(response: Result<Response, Problem>) -> Result<Response, Problem> {
    let mut response = response?;
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn answer(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}
