//! The outermost layer: every request has an id, every error is a problem, nothing hangs forever.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::problem::{self, Problem};
use super::{openai_error, upload};
use crate::clock;
use crate::telemetry::{HttpRequest, Telemetry, traces};

/// Header of the request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const MAX_ID: usize = 128;

/// What the layer needs.
#[derive(Clone)]
pub struct Finish {
    /// How long a request may go without an answer.
    pub limit: Duration,
    /// Where requests are counted.
    pub telemetry: Arc<Telemetry>,
}

/// Gives the request an id, logs and counts it, and writes the body of every error.
pub async fn finish(State(Finish { limit, telemetry }): State<Finish>, request: Request, next: Next) -> Response {
    let _in_flight = telemetry.http().begin();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let id = request_id(&request);
    let head = request.method() == axum::http::Method::HEAD;
    let openai = openai_error::expects(request.uri().path());
    let name = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("request", id = name, method = %method, path = %request.uri().path());
    traces::adopt(&span, &request);
    let watch = clock::Stopwatch::start();
    let answer = async {
        // Gigabytes may take hours; a stalled upload is ended by its own rule.
        if upload::is_upload(&request) {
            return next.run(request).await;
        }
        let Ok(response) = tokio::time::timeout(limit, next.run(request)).await else {
            let detail = format!("no answer within {} seconds", limit.as_secs());
            return Problem::new(problem::TIMEOUT, detail).retry_after(5).into_response();
        };
        response
    };
    let response = answer.instrument(span.clone()).await;
    let mut response = as_problem(response, name, head, openai);
    let (status, seconds) = (response.status().as_u16(), watch.seconds());
    let route = route.as_ref().map(MatchedPath::as_str);
    telemetry.http().answered(&HttpRequest { method: method.as_str(), route, status, seconds });
    span.in_scope(|| log(&method, status, seconds));
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// What may change something, and what failed here, is worth a line; a look at something is not.
fn log(method: &Method, status: u16, seconds: f64) {
    if status >= 500 {
        tracing::error!(status, seconds, "answered");
    } else if method.is_safe() {
        tracing::debug!(status, seconds, "answered");
    } else {
        tracing::info!(status, seconds, "answered");
    }
}

/// The client's own id where it is fit to be repeated, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let fit = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= MAX_ID
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    };
    let sent = request.headers().get(REQUEST_ID).filter(fit).cloned();
    sent.unwrap_or_else(|| {
        HeaderValue::from_str(&clock::new_id("req")).unwrap_or_else(|_| HeaderValue::from_static("req"))
    })
}

/// Turns errors into problems: our own, and those of the layers below that speak plain text.
fn as_problem(response: Response, request_id: &str, head: bool, openai: bool) -> Response {
    let (mut parts, body) = response.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None if parts.status.is_client_error() || parts.status.is_server_error() => {
            let kind =
                parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            if kind.starts_with("application/json") || kind.starts_with("application/problem+json") {
                return Response::from_parts(parts, body);
            }
            Problem::of_status(parts.status)
        }
        None => return Response::from_parts(parts, body),
    };
    let (text, kind) = if openai {
        parts.status = StatusCode::from_u16(openai_error::status(&problem)).unwrap_or(parts.status);
        (openai_error::error_body(&problem).to_string(), JSON)
    } else {
        (problem.body(request_id).to_string(), PROBLEM_JSON)
    };
    parts.headers.insert(header::CONTENT_TYPE, kind);
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::TRANSFER_ENCODING);
    Response::from_parts(parts, if head { Body::empty() } else { Body::from(text) })
}
