//! `/v1/runs/{id}/rows`: what an evaluation answered, as a stream of lines.

use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::problem::{Problem, ProblemBody};
use crate::domain::eval_row::EvalRow;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(rows))
}

/// The rows of an evaluation (method `eval`) that are answered so far, with every response, verdict and visual summary:
/// one `EvalRow` per line, in the order of the data set.
#[utoipa::path(
    get, path = "/v1/runs/{id}/rows", tag = "runs", operation_id = "run_rows",
    params(("id" = String, Path, description = "`run_…`")),
    responses(
        (status = 200, description = "JSON lines", body = EvalRow, content_type = "application/jsonl"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn rows(state: AppState, Path(id): Path<String>) -> Result<Response, Problem> {
    let files = state.service.runs().rows(&id).await?;
    Ok(([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(joined(files))).into_response())
}

/// The files one after the other, a block at a time.
fn joined(files: Vec<PathBuf>) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::iter(files).then(tokio::fs::File::open).map_ok(ReaderStream::new).try_flatten()
}
