//! A hub on this machine: as much of Hugging Face's API as downloads need, with its redirects and its failures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use serde_json::json;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const OTHER_COMMIT: &str = "fedcba9876543210fedcba9876543210fedcba98";

/// What the server does besides answering.
#[derive(Default)]
pub struct Moods {
    /// The bearer token that is wanted, if any.
    pub token: Option<String>,
    /// Number of answers of weights that break off halfway.
    pub cuts: AtomicUsize,
    /// Number of answers of weights with a wrong byte.
    pub damages: AtomicUsize,
    /// Names that the listing has besides the real ones.
    pub more_files: Vec<String>,
    /// Every address that was asked for.
    pub asked: Mutex<Vec<String>>,
}

struct Shared {
    repos: HashMap<String, PathBuf>,
    moods: Moods,
}

pub struct FakeHub {
    pub url: String,
    shared: Arc<Shared>,
}

impl FakeHub {
    /// A hub with the repositories `name` (`models/org/name` or `datasets/org/name`), each a folder.
    pub async fn start(repos: &[(&str, &Path)], moods: Moods) -> Self {
        let repos = repos.iter().map(|(name, dir)| ((*name).to_owned(), dir.to_path_buf())).collect();
        let shared = Arc::new(Shared { repos, moods });
        let router = Router::new()
            .route("/api/{kind}/{org}/{name}/revision/{revision}", get(info))
            .route("/{org}/{name}/resolve/{revision}/{*file}", get(model_file))
            .route("/datasets/{org}/{name}/resolve/{revision}/{*file}", get(dataset_file))
            .route("/cdn/{kind}/{org}/{name}/{*file}", get(content))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared }
    }

    /// Addresses that were asked for and hold `part`.
    pub fn asked(&self, part: &str) -> usize {
        self.shared.moods.asked.lock().unwrap().iter().filter(|url| url.contains(part)).count()
    }
}

fn plain(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Body::from("no")).unwrap()
}

fn refused(shared: &Shared, headers: &HeaderMap) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    shared.moods.token.as_ref().is_some_and(|token| sent != Some(&format!("Bearer {token}")))
}

fn commit(revision: &str) -> Option<&'static str> {
    match revision {
        "main" | COMMIT => Some(COMMIT),
        "v2" | OTHER_COMMIT => Some(OTHER_COMMIT),
        _ => None,
    }
}

fn names(dir: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() { names(&entry.path(), &format!("{name}/"), found) } else { found.push(name) }
    }
}

type Repo = (String, String, String, String);

async fn info(
    State(shared): State<Arc<Shared>>,
    UrlPath((kind, org, name, revision)): UrlPath<Repo>,
    headers: HeaderMap,
) -> Response<Body> {
    shared.moods.asked.lock().unwrap().push(format!("info {org}/{name}@{revision}"));
    if refused(&shared, &headers) {
        return plain(401);
    }
    let (Some(dir), Some(commit)) = (shared.repos.get(&format!("{kind}/{org}/{name}")), commit(&revision)) else {
        return plain(404);
    };
    let mut files = shared.moods.more_files.clone();
    names(dir, "", &mut files);
    let siblings: Vec<_> = files.iter().map(|name| json!({"rfilename": name})).collect();
    let body = json!({"id": format!("{org}/{name}"), "sha": commit, "siblings": siblings, "private": false});
    Response::builder().header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
}

async fn model_file(
    state: State<Arc<Shared>>,
    UrlPath((org, name, revision, file)): UrlPath<Repo>,
    headers: HeaderMap,
) -> Response<Body> {
    resolve(&state.0, "models", (org, name, revision, file), &headers)
}

async fn dataset_file(
    state: State<Arc<Shared>>,
    UrlPath((org, name, revision, file)): UrlPath<Repo>,
    headers: HeaderMap,
) -> Response<Body> {
    resolve(&state.0, "datasets", (org, name, revision, file), &headers)
}

/// Small files are answered at once; large ones are somewhere else, under their SHA-256.
fn resolve(shared: &Shared, kind: &str, (org, name, revision, file): Repo, headers: &HeaderMap) -> Response<Body> {
    shared.moods.asked.lock().unwrap().push(format!("resolve {org}/{name}@{revision}/{file}"));
    if refused(shared, headers) {
        return plain(401);
    }
    let repo = shared.repos.get(&format!("{kind}/{org}/{name}"));
    let (Some(bytes), Some(commit)) = (repo.and_then(|dir| std::fs::read(dir.join(&file)).ok()), commit(&revision))
    else {
        return plain(404);
    };
    let hash = format!("{:x}", Sha256::digest(&bytes));
    if !file.ends_with(".safetensors") {
        let mut response = part(&bytes, headers);
        response.headers_mut().insert("x-repo-commit", commit.parse().unwrap());
        response.headers_mut().insert("etag", format!("\"{}\"", &hash[..40]).parse().unwrap());
        return response;
    }
    let host = headers[header::HOST].to_str().unwrap();
    Response::builder()
        .status(StatusCode::FOUND)
        .header("location", format!("http://{host}/cdn/{kind}/{org}/{name}/{file}"))
        .header("x-repo-commit", commit)
        .header("x-linked-etag", format!("\"{hash}\""))
        .body(Body::empty())
        .unwrap()
}

async fn content(
    State(shared): State<Arc<Shared>>,
    UrlPath((kind, org, name, file)): UrlPath<Repo>,
    headers: HeaderMap,
) -> Response<Body> {
    let mut bytes = std::fs::read(shared.repos[&format!("{kind}/{org}/{name}")].join(&file)).unwrap();
    let whole = headers[header::RANGE] != "bytes=0-0";
    let take = |left: &AtomicUsize| {
        whole && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    };
    if take(&shared.moods.damages) {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    }
    let response = part(&bytes, &headers);
    if !take(&shared.moods.cuts) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let sent = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let half = sent.slice(..sent.len() / 2);
    let broken = futures_util::stream::iter([Ok(half), Err(std::io::Error::other("the cable is out"))]);
    Response::from_parts(parts, Body::from_stream(broken))
}

/// The bytes that `Range` asks for.
fn part(bytes: &[u8], headers: &HeaderMap) -> Response<Body> {
    let range = headers[header::RANGE].to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to: usize = to.parse().unwrap_or(bytes.len() - 1);
    Response::builder()
        .status(StatusCode::PARTIAL_CONTENT)
        .header("content-range", format!("bytes {from}-{to}/{}", bytes.len()))
        .header("content-length", to + 1 - from)
        .body(Body::from(bytes[from..=to].to_vec()))
        .unwrap()
}
