//! Extractors whose refusals are problems: JSON bodies, query strings, pages.

use std::fmt::Write as _;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query as AxumQuery, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use utoipa::IntoParams;

use super::problem::{self, Problem};
use super::{AppState, bodies};
use crate::domain::field_error::FieldError;
use crate::domain::nearest::{suggestion, types_in_words};
use crate::domain::nul::nul_pointers;
use crate::domain::page::{Listing, Page};
use crate::service::ServiceError;

/// Bytes of a body that is read at once.
const SMALL_BODY: usize = 1 << 18;

/// The error of a text with a NUL character.
const NUL: &str = "it contains a NUL character (U+0000), which cannot be stored";

/// A JSON body with a fixed schema, and its bytes, which identify a repeated request.
#[derive(Debug)]
pub struct RawJson<T> {
    /// The bytes.
    pub bytes: Bytes,
    /// The parsed body.
    pub value: T,
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for RawJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let bytes = bodies::read(request, state).await?;
        aside(bytes.len(), move || Ok(Self { value: parse(&bytes)?, bytes })).await
    }
}

/// A JSON body of a fixed shape.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let bytes = bodies::read(request, state).await?;
        aside(bytes.len(), move || parse(&bytes).map(Self)).await
    }
}

/// Parses JSON into `T` directly: a tree of values in between would take dozens of times its bytes.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    refuse_nul(bytes)?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        if error.inner().is_data() { shape(&error) } else { syntax(error.inner(), bytes.is_empty()) }
    })?;
    json.end().map_err(|error| syntax(&error, false))?;
    Ok(value)
}

/// Parses a large body outside of the threads that handle requests, because megabytes of JSON take a while.
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

/// Refuses texts that no database could store, by name. In JSON the character can only be an escape.
fn refuse_nul(bytes: &[u8]) -> Result<(), Problem> {
    if !std::str::from_utf8(bytes).is_ok_and(|text| text.contains("\\u0000")) {
        return Ok(());
    }
    // A syntax error is reported by the parse that follows.
    let found = nul_pointers(&mut serde_json::Deserializer::from_slice(bytes)).unwrap_or_default();
    let errors: Vec<_> = found.into_iter().map(|pointer| FieldError::new(pointer, NUL)).collect();
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
        let bytes = bodies::read(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        announced?;
        parse(&bytes).map(Self)
    }
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

/// An error of serde as a field error with the nearest known name.
pub fn shape(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let mut pointer = String::new();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => {
                let _ = write!(pointer, "/{index}");
            }
            Segment::Map { key } => pointer.extend(["/", &escape(key)]),
            _ => {}
        }
    }
    let inner = error.inner();
    let mut message = inner.to_string();
    // The pointer names the place of the fault.
    let place = format!(" at line {} column {}", inner.line(), inner.column());
    message.truncate(message.strip_suffix(&place).map_or(message.len(), str::len));
    let (name, detail) = plain(&message);
    if let Some(name) = name.filter(|name| !pointer.ends_with(&format!("/{}", escape(name)))) {
        pointer.extend(["/", &escape(&name)]);
    }
    let errors = vec![FieldError::new(pointer, detail.clone())];
    Problem::new(problem::INVALID_REQUEST, detail).with_errors(errors)
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// An error of serde in plain words; for a wrong name also the name.
fn plain(message: &str) -> (Option<String>, String) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((name, known)) if message.starts_with("unknown field") => {
            (Some((*name).to_owned()), format!("unknown field `{name}`: {}", suggestion(name, known)))
        }
        Some((name, _)) if message.starts_with("missing field") => {
            (Some((*name).to_owned()), format!("`{name}` is required"))
        }
        Some((name, _)) if message.starts_with("duplicate field") => {
            (Some((*name).to_owned()), format!("`{name}` is given more than once; give it once"))
        }
        // The standard library's words for text that is no number of the wanted kind.
        _ if message.starts_with("invalid digit found") || message.starts_with("cannot parse integer") => {
            (None, "must be a whole number".to_owned())
        }
        _ if message.starts_with("number too large") => (None, "is too large".to_owned()),
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

pub(super) const MAX_LIMIT: u32 = 1000;
const DEFAULT_LIMIT: u32 = 50;

/// The query of a list that is only paged.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Entries per page, 1 to 1000 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl PageQuery {
    /// The page of a list whose cursors are positions.
    pub fn page_from(self) -> Result<Page, Problem> {
        page_from(self.limit, self.after)
    }

    /// The page of a list whose cursors are ids that begin with `prefix`.
    pub fn page_of(self, prefix: &str) -> Result<Page, Problem> {
        page_of(prefix, self.limit, self.after)
    }
}

/// The query of a list that is given whole unless a page is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WholeQuery {
    /// Entries per page, 1 to 1000 (default: all).
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl WholeQuery {
    /// The part of a whole list that is asked for; `id` tells the cursor of an entry.
    pub fn cut<T>(self, mut all: Vec<T>, id: impl Fn(&T) -> &str) -> Result<Listing<T>, Problem> {
        let limited = self.limit.is_some();
        let page = page(self.limit, self.after)?;
        if let Some(after) = &page.after {
            let place = all.iter().position(|entry| id(entry) == after).ok_or_else(wrong_cursor)?;
            all.drain(..=place);
        }
        let limit = if limited { page.limit } else { u32::MAX };
        Ok(Listing::from_overfull(all, limit, |entry| id(entry).to_owned()))
    }
}

/// A page from its two parameters, checked.
pub fn page(limit: Option<u32>, after: Option<String>) -> Result<Page, Problem> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(query_fault("limit", format!("`limit` is {limit}; it must be from 1 to {MAX_LIMIT}")));
    }
    if after.as_deref() == Some("") {
        return Err(query_fault("after", "`after` is empty; leave it out for the first page"));
    }
    Ok(Page { limit, after })
}

/// A page of a list whose cursors are positions.
pub fn page_from(limit: Option<u32>, after: Option<String>) -> Result<Page, Problem> {
    let page = page(limit, after)?;
    match page.after.as_deref() {
        Some(cursor) if !cursor.parse::<i64>().is_ok_and(|position| position >= 0) => Err(wrong_cursor()),
        _ => Ok(page),
    }
}

/// Digits of an id after its prefix.
const ID_DIGITS: usize = 32;

/// A page of a list whose cursors are ids that begin with `prefix`. An entry may have been deleted since, so that the
/// id alone is checked: a list continues where the entry was.
pub fn page_of(prefix: &str, limit: Option<u32>, after: Option<String>) -> Result<Page, Problem> {
    let page = page(limit, after)?;
    let is_id = |cursor: &str| {
        let digits = cursor.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
        digits.is_some_and(|digits| digits.len() == ID_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    match page.after.as_deref() {
        Some(cursor) if !is_id(cursor) => Err(wrong_cursor()),
        _ => Ok(page),
    }
}

fn wrong_cursor() -> Problem {
    query_fault("after", "`after` must be the `next` of the page before")
}

/// A problem with one query parameter.
pub fn query_fault(name: &str, detail: impl Into<String>) -> Problem {
    let detail = detail.into();
    let errors = vec![FieldError::new(format!("?{name}"), detail.clone())];
    Problem::new(problem::INVALID_QUERY, detail).with_errors(errors)
}

/// Entries of a comma-separated parameter.
const MAX_ENTRIES: usize = 200;

/// The entries of the comma-separated parameter `name`.
pub fn list(name: &str, text: Option<&str>) -> Result<Vec<String>, Problem> {
    let entries = text.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let entries: Vec<String> = entries.map(ToOwned::to_owned).collect();
    if entries.len() > MAX_ENTRIES {
        let detail = format!("`{name}` has {} entries; the limit is {MAX_ENTRIES}", entries.len());
        return Err(query_fault(name, detail));
    }
    Ok(entries)
}
