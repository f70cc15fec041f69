//! `/v1/checkpoints`

use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{QueryParams, page};
use super::problem::{Problem, ProblemBody};
use crate::domain::checkpoint::{Checkpoint, CheckpointFilter};
use crate::domain::page::Listing;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_checkpoints)).routes(routes!(get_checkpoint))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only checkpoints of this run.
    run: Option<String>,
    /// Only checkpoints of this project.
    project: Option<String>,
    /// Entries of a page, 1 to 1000 (default 50).
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
    State(state): State<AppState>,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<axum::Json<Listing<Checkpoint>>, Problem> {
    let filter = CheckpointFilter { run_id: query.run, project: query.project };
    Ok(axum::Json(state.service.checkpoints(&filter, &page(query.limit, query.after)?).await?))
}

/// One checkpoint with its files.
#[utoipa::path(
    get, path = "/v1/checkpoints/{id}", tag = "checkpoints", operation_id = "get_checkpoint",
    params(("id" = String, Path, description = "`ckpt_…`")),
    responses((status = 200, body = Checkpoint), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn get_checkpoint(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<axum::Json<Checkpoint>, Problem> {
    Ok(axum::Json(state.service.checkpoint(&id).await?))
}
