//! `/v1/runs/{id}/trackers`

use axum::extract::Path;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{QueryParams, WholeQuery};
use super::problem::{Problem, ProblemBody};
use crate::domain::page::Listing;
use crate::domain::tracker::Tracking;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(trackers))
}

/// How far the trackers that a run reports to have its metrics.
#[utoipa::path(
    get, path = "/v1/runs/{id}/trackers", tag = "runs", operation_id = "run_trackers",
    params(("id" = String, Path, description = "`run_…`"), WholeQuery),
    responses(
        (status = 200, description = "One entry a tracker", body = Listing<Tracking>),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn trackers(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<WholeQuery>,
) -> Result<axum::Json<Listing<Tracking>>, Problem> {
    Ok(axum::Json(query.cut(state.service.runs().trackers(&id).await?, |one| one.tracker.name())?))
}
