//! What servers without an engine ask of this one's (`serving::wire`). Not part of the API: both ends are this program.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::{Stream, StreamExt as _};

use super::AppState;
use super::access::bearer;
use super::problem::{self, Problem};
use crate::config::serving::{ENGINE_KEEP_ALIVE, MAX_FETCHED_IMAGES};
use crate::serving::request::{GenerateRequest, ScoreRequest};
use crate::serving::wire::{self, Frame};

const LINES: &str = "application/x-ndjson";

/// The routes, which require the secret that servers and engines share.
pub fn routes(state: &AppState) -> Router {
    let limits = &state.root().settings().limits;
    // Images that were given by URL have been fetched and are now in the body, in base64.
    let body = limits.body_bytes + MAX_FETCHED_IMAGES * limits.image_bytes.div_ceil(3) * 4;
    Router::new()
        .route(wire::GENERATE, post(generate))
        .route(wire::SCORE, post(score))
        .with_state(state.clone())
        .layer(DefaultBodyLimit::max(body))
        .layer(axum::middleware::from_fn_with_state(state.clone(), admit))
}

async fn admit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let sent = request.headers().get(header::AUTHORIZATION).and_then(|sent| sent.to_str().ok()).and_then(bearer);
    if sent.is_some_and(|sent| state.root().inference().is_peer(sent)) {
        return next.run(request).await;
    }
    Problem::new(problem::UNAUTHORIZED, "this route is for servers with the same engine_secret").into_response()
}

async fn generate(State(state): State<AppState>, axum::Json(request): axum::Json<GenerateRequest>) -> Response {
    lines(state.root().inference().generate_for_server(request))
}

async fn score(State(state): State<AppState>, axum::Json(request): axum::Json<ScoreRequest>) -> Response {
    lines(state.root().inference().score_for_server(request))
}

/// One frame a line, and an empty line now and then while there is none.
fn lines(frames: impl Stream<Item = Frame> + Send + 'static) -> Response {
    let lines = futures_util::stream::unfold(Box::pin(frames), |mut frames| async move {
        let line = match tokio::time::timeout(ENGINE_KEEP_ALIVE, frames.next()).await {
            Ok(frame) => line(&frame?),
            Err(_) => "\n".to_owned(),
        };
        Some((Ok::<_, Infallible>(line), frames))
    });
    ([(header::CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response()
}

fn line(frame: &Frame) -> String {
    let written = serde_json::to_string(frame).unwrap_or_else(|error| {
        tracing::error!(%error, "a frame cannot be written");
        String::new()
    });
    written + "\n"
}
