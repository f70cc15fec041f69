//! The dashboard: the files of `web/`, carried by the program itself.
//!
//! `/` is one page; its files are under `/ui/{version}/`, where the version is a hash over all of them: browsers may
//! keep them forever, and a new program has new addresses.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::problem::{self, Problem};

/// Path and content of every file of `web/`, sorted by path; written by `build.rs`.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

/// Scripts, styles and connections of this server only; no frames, no forms, no plug-ins.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src \
                      'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";
/// The place of the version in `index.html`.
const VERSION_MARK: &str = "{{version}}";
/// A file under the address of its version never changes.
const KEEP: &str = "public, max-age=31536000, immutable";
const ASK: &str = "no-cache";

/// What is fixed when the program starts.
struct Page {
    version: String,
}

/// Routes of the dashboard.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = Arc::new(Page { version: version() });
    Router::new()
        .route("/", get(index))
        .route("/favicon.ico", get(icon))
        .route("/ui/{version}/{*path}", get(file))
        .with_state(page)
}

/// A hash over the names and contents of all files.
fn version() -> String {
    let mut hash = Sha256::new();
    for (name, content) in FILES {
        hash.update(name.as_bytes());
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    hex::encode(&hash.finalize()[..6])
}

fn find(path: &str) -> Option<&'static [u8]> {
    let at = FILES.binary_search_by(|(name, _)| Path::new(name).cmp(Path::new(path))).ok()?;
    Some(FILES[at].1)
}

async fn index(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    let Some(content) = find("index.html") else { return missing("/") };
    let text = String::from_utf8_lossy(content).replace(VERSION_MARK, &page.version);
    respond("index.html", &page.version, ASK, &headers, text.into_bytes())
}

async fn icon(headers: HeaderMap) -> Response {
    embedded("icon.svg", ASK, &headers).unwrap_or_else(|| missing("/favicon.ico"))
}

async fn file(
    State(page): State<Arc<Page>>,
    UrlPath((version, path)): UrlPath<(String, String)>,
    headers: HeaderMap,
) -> Response {
    // A page that was loaded from an older program gets today's file, but must not keep it under yesterday's address.
    let keep = if version == page.version { KEEP } else { ASK };
    embedded(&path, keep, &headers).unwrap_or_else(|| missing(&format!("/ui/{version}/{path}")))
}

fn embedded(path: &str, keep: &'static str, headers: &HeaderMap) -> Option<Response> {
    let content = find(path)?;
    Some(respond(path, &hex::encode(&Sha256::digest(content)[..12]), keep, headers, content.to_vec()))
}

fn missing(path: &str) -> Response {
    Problem::new(problem::NOT_FOUND, format!("the dashboard has no file `{path}`; it begins at /")).into_response()
}

/// A file with its headers; only the headers when the browser has it already.
fn respond(path: &str, tag: &str, keep: &'static str, headers: &HeaderMap, body: Vec<u8>) -> Response {
    // Weak: the same file may be sent compressed or as it is.
    let tag = format!("W/\"{tag}\"");
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let fresh = known.flat_map(|value| value.split(',')).any(|value| value.trim() == tag || value.trim() == "*");
    let mut response = if fresh { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    fields.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    fields.insert(HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS));
    fields.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        fields.insert(header::ETAG, tag);
    }
    response
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        _ => "text/plain; charset=utf-8",
    }
}
