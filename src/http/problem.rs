//! Errors as `application/problem+json` (RFC 9457): the one place that knows codes, titles and statuses.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::domain::brief::{brief, cut};
use crate::domain::field_error::{FieldError, MOST_ERRORS, POINTER};
use crate::service::ServiceError;

/// Bytes of a problem's detail.
const MAX_DETAIL: usize = 1000;
/// Bytes of what is wrong with one field.
const MAX_ERROR_DETAIL: usize = 400;
/// Bytes of all bad fields of a problem together, as JSON. With them its body stays below 8 KB.
const MAX_ERROR_BYTES: usize = 4000;

/// A kind of problem, stable over versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Name in `code` and in the address `/problems/{name}`.
    pub name: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Short title.
    pub title: &'static str,
    /// For people: what it means and what to do.
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($constant:ident = $name:literal, $status:literal, $title:literal, $explanation:literal;)*) => {
        $(#[doc = $explanation] #[allow(clippy::doc_markdown)] pub const $constant: &Code = &Code { name: $name, status: $status, title: $title, explanation: $explanation };)*
        /// Every kind of problem.
        pub const CODES: &[&Code] = &[$($constant),*];
    };
}

codes! {
    INVALID_JSON = "invalid_json", 400, "The body is not valid JSON",
        "The request's body could not be read as JSON. The detail names line and column. Check quotes, commas and \
        brackets.";
    INVALID_QUERY = "invalid_query", 400, "The query string is invalid",
        "A query parameter is unknown or has an invalid value. `errors` names each of them.";
    BAD_REQUEST = "bad_request", 400, "The request cannot be read",
        "The request's URL or headers are malformed.";
    FORBIDDEN_HOST = "forbidden_host", 403, "The Host header names another server",
        "The Host header names neither this machine's loopback names nor the configured host. This check prevents web \
        pages from reaching a local server under another name (DNS rebinding). Add the name to allowed_hosts \
        (VGPO_ALLOWED_HOSTS).";
    FORBIDDEN_ORIGIN = "forbidden_origin", 403, "The request comes from another site",
        "A web page of another origin tried to change something. Add the origin to allowed_origins \
        (VGPO_ALLOWED_ORIGINS) if this is intended.";
    FORBIDDEN = "forbidden", 403, "Not allowed",
        "The key is valid, but does not allow this. The detail names the required role or project. Admins create keys: \
        `vgpo keys create`.";
    UNAUTHORIZED = "unauthorized", 401, "An API key is required",
        "The server requires an API key: send `Authorization: Bearer vgpo_…`. Unknown or revoked keys and expired \
        sessions or stream tokens get this answer too. Admins create keys: `vgpo keys create`.";
    CSRF = "csrf_token", 403, "The session's CSRF token is missing",
        "Requests of a browser session that change something need the session's `csrf` (GET /v1/session) in the header \
        `X-CSRF-Token`. This prevents other sites from using the session.";
    NOT_FOUND = "not_found", 404, "Not found",
        "The id or name in the URL is unknown. Lists such as /v1/jobs and /v1/models show what exists.";
    UNKNOWN_ROUTE = "unknown_route", 404, "Unknown route",
        "The URL is not part of this API. /openapi.json lists all routes.";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "Method not allowed",
        "The route exists, but not for this HTTP method. The Allow header lists the allowed ones.";
    TIMEOUT = "timeout", 503, "The answer took too long",
        "The server aborted the request after its time limit (request_timeout_seconds). Try again, or request less at \
        once.";
    ILLEGAL_TRANSITION = "illegal_transition", 409, "The job's state does not allow this",
        "The action is not possible in the job's current state. `state` names it, `allowed` lists what is possible.";
    HELD = "held", 409, "It is in use",
        "It cannot be deleted while it is in use. `holders` lists what uses it.";
    CONFLICT = "conflict", 409, "Conflict",
        "The request conflicts with the current state of the server. The detail says how.";
    IDEMPOTENCY_IN_FLIGHT = "idempotency_in_flight", 409, "The same request is being answered",
        "A request with this Idempotency-Key is still in progress. Repeat it after the time in Retry-After.";
    BODY_TOO_LARGE = "body_too_large", 413, "The body is too large",
        "The request's body is larger than the route accepts; the detail names the limit. For bodies with images or \
        texts it is max_body_bytes: send smaller or fewer images, or raise it.";
    SLOW_BODY = "slow_body", 408, "The body did not arrive in time",
        "The request's body arrived too slowly or incompletely. Send it again, over a better connection or in smaller \
        parts.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415, "The body has the wrong type",
        "This route requires JSON: send the header `Content-Type: application/json`.";
    INVALID_REQUEST = "invalid_request", 422, "Fields of the request are invalid",
        "The body is valid JSON, but some of its fields are invalid. `errors` names each field by its JSON pointer, \
        with what is wrong and what is allowed.";
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch", 422, "The Idempotency-Key belongs to another request",
        "The key was used within the last 24 hours with another body. Use a new key for a new request.";
    OVERLOADED = "overloaded", 429, "Too many requests are waiting",
        "The queue is full. Repeat the request after the time in Retry-After.";
    RATE_LIMITED = "rate_limited", 429, "Rate limit of the key",
        "Each key has a limit on requests per minute and on concurrent answers of the engine. The detail names the \
        limit; repeat the request after the time in Retry-After.";
    INTERNAL = "internal", 500, "Internal error",
        "An error of the server. Its log has the details under the `request_id` of the answer.";
    NO_ENGINE = "no_engine", 503, "No engine available",
        "This server forwards inference requests to engines on other servers, but none is registered or none answers. \
        Start one on the same database: `vgpo serve --roles engine`. GET /v1/engines lists those that are alive.";
    UNAVAILABLE = "unavailable", 503, "Temporarily unavailable",
        "Repeat the request after the time in Retry-After. /readyz says which part is not available.";
}

/// The problem called `name`.
pub fn find(name: &str) -> Option<&'static Code> {
    CODES.iter().copied().find(|code| code.name == name)
}

/// A problem that is sent to the client.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Its kind.
    pub code: &'static Code,
    /// Details of this occurrence.
    pub detail: String,
    /// Field by field.
    pub errors: Vec<FieldError>,
    /// Members of this kind of problem, e.g. `allowed`.
    pub members: Vec<(&'static str, Value)>,
    /// Seconds until a repeat makes sense.
    pub retry_after: Option<u32>,
}

impl Problem {
    /// A problem of a kind. What it repeats of a request is cut short here, so that no answer grows with what was sent.
    pub fn new(code: &'static Code, detail: impl Into<String>) -> Self {
        let detail = brief(&detail.into(), MAX_DETAIL);
        Self { code, detail, errors: Vec::new(), members: Vec::new(), retry_after: None }
    }

    /// With bad fields: the first ones, cut short.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        let mut left = MAX_ERROR_BYTES;
        let short = errors
            .into_iter()
            .take(MOST_ERRORS)
            .map(|error| FieldError::new(cut(&error.pointer, POINTER), brief(&error.detail, MAX_ERROR_DETAIL)));
        let room = |error: &FieldError| {
            let bytes = json!(error).to_string().len();
            left = left.saturating_sub(bytes);
            left > 0
        };
        self.errors = short.take_while(room).collect();
        self
    }

    /// With a member of its own: a text, or a list of which the first entries are kept.
    #[must_use]
    pub fn with(mut self, name: &'static str, mut value: Value) -> Self {
        if let Value::Array(entries) = &mut value {
            entries.truncate(MOST_ERRORS);
            for entry in entries {
                if let Value::String(text) = entry {
                    *text = cut(text, POINTER);
                }
            }
        }
        self.members.push((name, value));
        self
    }

    /// With a pause before a repeat.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The problem of an answer that carries nothing but a status.
    pub fn of_status(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            401 => UNAUTHORIZED,
            403 => FORBIDDEN,
            404 => UNKNOWN_ROUTE,
            405 => METHOD_NOT_ALLOWED,
            413 => BODY_TOO_LARGE,
            415 => UNSUPPORTED_MEDIA_TYPE,
            422 => INVALID_REQUEST,
            429 => OVERLOADED,
            503 => UNAVAILABLE,
            code if code < 500 => BAD_REQUEST,
            _ => INTERNAL,
        };
        Self::new(code, code.title)
    }

    /// The body, as RFC 9457 lays it out; inside a stream there is no request id to repeat.
    pub fn body(&self, request_id: &str) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(format!("/problems/{}", self.code.name)));
        body.insert("code".to_owned(), json!(self.code.name));
        body.insert("title".to_owned(), json!(self.code.title));
        body.insert("status".to_owned(), json!(self.code.status));
        body.insert("detail".to_owned(), json!(self.detail));
        if !self.errors.is_empty() {
            body.insert("errors".to_owned(), json!(self.errors));
        }
        body.extend(self.members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        if !request_id.is_empty() {
            body.insert("request_id".to_owned(), json!(request_id));
        }
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    /// The body is written by [`super::finish`], which knows the request's id.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"vgpo\""));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let detail = error.to_string();
        match error {
            ServiceError::NotFound { .. } => Self::new(NOT_FOUND, detail),
            ServiceError::Invalid { errors, .. } if errors.iter().all(|error| error.pointer.starts_with('?')) => {
                Self::new(INVALID_QUERY, detail).with_errors(errors)
            }
            ServiceError::Invalid { errors, .. } => Self::new(INVALID_REQUEST, detail).with_errors(errors),
            ServiceError::IllegalAction { state, allowed, .. } => {
                Self::new(ILLEGAL_TRANSITION, detail).with("state", json!(state)).with("allowed", json!(allowed))
            }
            ServiceError::Held { holders, .. } => Self::new(HELD, detail).with("holders", json!(holders)),
            ServiceError::Forbidden(_) => Self::new(FORBIDDEN, detail),
            ServiceError::Unauthorized(_) => Self::new(UNAUTHORIZED, detail),
            ServiceError::Conflict(_) => Self::new(CONFLICT, detail),
            ServiceError::IdempotencyMismatch => Self::new(IDEMPOTENCY_MISMATCH, detail),
            ServiceError::IdempotencyInFlight => Self::new(IDEMPOTENCY_IN_FLIGHT, detail).retry_after(1),
            ServiceError::Overloaded { retry_after, .. } => Self::new(OVERLOADED, detail).retry_after(retry_after),
            ServiceError::NoEngine(_) => Self::new(NO_ENGINE, detail).retry_after(5),
            ServiceError::Unavailable(_) => Self::new(UNAVAILABLE, detail).retry_after(5),
            ServiceError::Internal(_) => {
                tracing::error!(error = %detail, "a request failed");
                Self::new(INTERNAL, "the server's log has the details under this request_id")
            }
        }
    }
}

/// The body of every error of this API (`application/problem+json`, RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// URL of an explanation, `/problems/{code}`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stable name of the kind of problem.
    pub code: String,
    /// Short title of the kind of problem.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Details of this occurrence.
    pub detail: String,
    /// Each bad field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The job's state (`illegal_transition`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The allowed transitions (`illegal_transition`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Vec<String>>,
    /// What uses it (`held`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders: Option<Vec<String>>,
    /// The id of the request, also in `x-request-id` and in the server's log.
    pub request_id: String,
}
