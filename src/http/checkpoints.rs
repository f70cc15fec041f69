//! `/v1/checkpoints`

use axum::body::Body;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{Json, QueryParams, page_of};
use super::problem::{Problem, ProblemBody};
use crate::domain::checkpoint::{Checkpoint, CheckpointFilter};
use crate::domain::page::Listing;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_checkpoints))
        .routes(routes!(get_checkpoint, delete_checkpoint))
        .routes(routes!(download))
        .routes(routes!(promote, demote))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only checkpoints of this run.
    run: Option<String>,
    /// Only checkpoints of this project.
    project: Option<String>,
    /// Entries per page, 1 to 1000 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// List checkpoints, newest first.
#[utoipa::path(
    get, path = "/v1/checkpoints", tag = "checkpoints", operation_id = "list_checkpoints", params(ListQuery),
    responses((status = 200, description = "A page of checkpoints", body = Listing<Checkpoint>))
)]
async fn list_checkpoints(
    state: AppState,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<axum::Json<Listing<Checkpoint>>, Problem> {
    let filter = CheckpointFilter { run_id: query.run, project: query.project };
    Ok(axum::Json(state.service.models().checkpoints(&filter, &page_of("ckpt", query.limit, query.after)?).await?))
}

/// One checkpoint with its files.
#[utoipa::path(
    get, path = "/v1/checkpoints/{id}", tag = "checkpoints", operation_id = "get_checkpoint",
    params(("id" = String, Path, description = "`ckpt_…`")),
    responses((status = 200, body = Checkpoint),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn get_checkpoint(state: AppState, Path(id): Path<String>) -> Result<axum::Json<Checkpoint>, Problem> {
    Ok(axum::Json(state.service.models().checkpoint(&id).await?))
}

/// Delete a checkpoint that is not in use.
#[utoipa::path(
    delete, path = "/v1/checkpoints/{id}", tag = "checkpoints", operation_id = "delete_checkpoint",
    params(("id" = String, Path, description = "`ckpt_…`")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409,
            description = "It is in use (`holders`): by a served name, its run (best, last), unfinished jobs, or an \
                          engine that has it in memory", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn delete_checkpoint(state: AppState, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    state.service.models().delete_checkpoint(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DownloadQuery {
    /// Also the trainer's own files: optimizer, position, job.
    #[serde(default)]
    trainer: bool,
}

/// A checkpoint as a tar file: a folder in the Hugging Face layout (configuration, tokenizer, safetensors).
#[utoipa::path(
    get, path = "/v1/checkpoints/{id}/download", tag = "checkpoints", operation_id = "download_checkpoint",
    params(("id" = String, Path, description = "`ckpt_…`"), DownloadQuery),
    responses(
        (status = 200, description = "The files, streamed; `Content-Length` and `ETag` are set", body = Vec<u8>,
            content_type = "application/x-tar"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn download(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<DownloadQuery>,
) -> Result<Response, Problem> {
    let download = state.service.models().download_checkpoint(&id, query.trainer).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_LENGTH, download.bytes.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", download.file_name)),
        (header::ETAG, download.etag),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(download.chunks))).into_response())
}

/// The name that a checkpoint is served under.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Promotion {
    /// A model name, e.g. `digits-v2`.
    name: String,
}

/// Serve a checkpoint under a model name, which is taken from the checkpoint that had it before.
#[utoipa::path(
    post, path = "/v1/checkpoints/{id}/promote", tag = "checkpoints", operation_id = "promote_checkpoint",
    params(("id" = String, Path, description = "`ckpt_…`")), request_body = Promotion,
    responses(
        (status = 200, body = Checkpoint),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "A registered model already has this name", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn promote(
    state: AppState,
    Path(id): Path<String>,
    Json(promotion): Json<Promotion>,
) -> Result<axum::Json<Checkpoint>, Problem> {
    Ok(axum::Json(state.service.models().promote_checkpoint(&id, &promotion.name).await?))
}

/// Stop serving a checkpoint under its name. Idempotent.
#[utoipa::path(
    delete, path = "/v1/checkpoints/{id}/promote", tag = "checkpoints", operation_id = "demote_checkpoint",
    params(("id" = String, Path, description = "`ckpt_…`")),
    responses((status = 200, body = Checkpoint),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn demote(state: AppState, Path(id): Path<String>) -> Result<axum::Json<Checkpoint>, Problem> {
    Ok(axum::Json(state.service.models().demote_checkpoint(&id).await?))
}
