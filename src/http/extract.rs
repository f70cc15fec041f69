//! Extractors whose refusals are problems: JSON bodies, query strings, pages.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query as AxumQuery, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use utoipa::IntoParams;

use super::AppState;
use super::problem::{self, Problem};
use crate::config::nearest::{suggestion, types_in_words};
use crate::domain::field_error::FieldError;
use crate::domain::nul::nul_pointers;
use crate::domain::page::Page;
use crate::service::ServiceError;

/// Bytes of a body that is read at once.
const SMALL_BODY: usize = 1 << 18;

/// What is wrong with a text that holds it.
const NUL: &str = "it holds a NUL character (U+0000), which cannot be stored";

/// A JSON body as it came, for calls that check its fields themselves.
#[derive(Debug)]
pub struct RawJson {
    /// The bytes.
    pub bytes: Bytes,
    /// What they mean.
    pub value: Value,
}

impl FromRequest<AppState> for RawJson {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let bytes = read_body(request, state).await?;
        aside(bytes.len(), move || parse(bytes)).await
    }
}

/// A JSON body of a fixed shape.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let bytes = read_body(request, state).await?;
        aside(bytes.len(), move || typed(parse(bytes)?.value).map(Self)).await
    }
}

fn parse(bytes: Bytes) -> Result<RawJson, Problem> {
    let value = serde_json::from_slice(&bytes).map_err(|error| syntax(&error, bytes.is_empty()))?;
    Ok(RawJson { bytes, value })
}

/// Reads a large body beside the threads that answer everyone: megabytes of JSON take a while.
async fn aside<T: Send + 'static>(
    bytes: usize,
    read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if bytes <= SMALL_BODY {
        return read();
    }
    let joined = tokio::task::spawn_blocking(read).await;
    joined.unwrap_or_else(|error| Err(ServiceError::Internal(error.to_string()).into()))
}

/// A JSON value as a body of a fixed shape.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    refuse_nul(&value)?;
    serde_path_to_error::deserialize(value).map_err(|error| shape(&error))
}

/// Texts that no database could keep are refused by name.
fn refuse_nul(value: &Value) -> Result<(), Problem> {
    let errors: Vec<_> = nul_pointers(value).into_iter().map(|pointer| FieldError::new(pointer, NUL)).collect();
    match errors.first() {
        Some(first) => {
            Err(Problem::new(problem::INVALID_REQUEST, format!("{}: {NUL}", first.pointer)).with_errors(errors))
        }
        None => Ok(()),
    }
}

/// A JSON body of a fixed shape that may be left out.
#[derive(Debug)]
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<AppState> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let announced = check_type(request.headers());
        let bytes = read_body(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        announced?;
        let value = serde_json::from_slice(&bytes).map_err(|error| syntax(&error, false))?;
        typed(value).map(Self)
    }
}

async fn read_body(request: Request, state: &AppState) -> Result<Bytes, Problem> {
    let limit = state.service.settings().limits.body_bytes;
    let too_large = |detail: String| Problem::new(problem::BODY_TOO_LARGE, detail);
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if let Some(bytes) = announced.filter(|bytes| *bytes > limit) {
        return Err(too_large(format!("the body has {bytes} bytes; the limit is {limit}")));
    }
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(inner) if inner.status() == 413 => {
            too_large(format!("the body has more than {limit} bytes, which is the limit"))
        }
        other => Problem::new(problem::BAD_REQUEST, other.body_text()),
    })
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let sent = if sent.is_empty() { "no Content-Type" } else { sent };
    Err(Problem::new(problem::UNSUPPORTED_MEDIA_TYPE, format!("got {sent}; send `Content-Type: application/json`")))
}

fn syntax(error: &serde_json::Error, empty: bool) -> Problem {
    let detail = if empty { "the body is empty".to_owned() } else { error.to_string() };
    Problem::new(problem::INVALID_JSON, detail)
}

/// What serde says about a shape, as a field error with the nearest known name.
pub fn shape(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let mut pointer = String::new();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => pointer = format!("{pointer}/{index}"),
            Segment::Map { key } => pointer = format!("{pointer}/{}", escape(key)),
            _ => {}
        }
    }
    let (name, detail) = plain(&error.inner().to_string());
    if let Some(name) = name.filter(|name| !pointer.ends_with(&format!("/{}", escape(name)))) {
        pointer = format!("{pointer}/{}", escape(&name));
    }
    let errors = vec![FieldError::new(pointer, detail.clone())];
    Problem::new(problem::INVALID_REQUEST, detail).with_errors(errors)
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Serde's words in ours; for a wrong name also the name.
fn plain(message: &str) -> (Option<String>, String) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((name, known)) if message.starts_with("unknown field") => {
            (Some((*name).to_owned()), format!("unknown field `{name}`: {}", suggestion(name, known)))
        }
        Some((name, _)) if message.starts_with("missing field") => {
            (Some((*name).to_owned()), format!("`{name}` is required"))
        }
        _ => (None, types_in_words(message)),
    }
}

/// A query string of a fixed shape.
#[derive(Debug)]
pub struct QueryParams<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Problem> {
        AxumQuery::<T>::try_from_uri(&parts.uri).map(|AxumQuery(query)| Self(query)).map_err(|rejection| {
            let text = rejection.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            let (path, message) = match text.split_once(": ") {
                Some((path, message)) if !path.contains(' ') => (Some(path.to_owned()), message),
                _ => (None, text),
            };
            let (name, detail) = plain(message);
            let pointer = format!("?{}", path.or(name).unwrap_or_default());
            Problem::new(problem::INVALID_QUERY, format!("`{}`: {detail}", pointer.trim_start_matches('?')))
                .with_errors(vec![FieldError::new(pointer, detail)])
        })
    }
}

const MAX_LIMIT: u32 = 1000;
const DEFAULT_LIMIT: u32 = 50;

/// The query of a list that is only paged.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Entries of a page, 1 to 1000 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl PageQuery {
    /// The page, checked.
    pub fn page(self) -> Result<Page, Problem> {
        page(self.limit, self.after)
    }
}

/// A page from its two parameters, checked.
pub fn page(limit: Option<u32>, after: Option<String>) -> Result<Page, Problem> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(query_fault("limit", format!("`limit` is {limit}; it must be from 1 to {MAX_LIMIT}")));
    }
    Ok(Page { limit, after: after.filter(|cursor| !cursor.is_empty()) })
}

/// A problem with one query parameter.
pub fn query_fault(name: &str, detail: impl Into<String>) -> Problem {
    let detail = detail.into();
    let errors = vec![FieldError::new(format!("?{name}"), detail.clone())];
    Problem::new(problem::INVALID_QUERY, detail).with_errors(errors)
}

/// The entries of a comma-separated parameter.
pub fn list(text: Option<&str>) -> Vec<String> {
    let entries = text.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(ToOwned::to_owned).collect()
}
