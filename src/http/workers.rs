//! `/v1/workers`

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{QueryParams, WholeQuery};
use super::problem::Problem;
use crate::domain::page::Listing;
use crate::domain::worker::WorkerRecord;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_workers))
}

/// Workers with a heartbeat within the last day, newest first.
#[utoipa::path(
    get, path = "/v1/workers", tag = "workers", operation_id = "list_workers", params(WholeQuery),
    responses((status = 200, description = "Workers with device, heartbeat and job", body = Listing<WorkerRecord>))
)]
async fn list_workers(
    state: AppState,
    QueryParams(query): QueryParams<WholeQuery>,
) -> Result<axum::Json<Listing<WorkerRecord>>, Problem> {
    Ok(axum::Json(query.cut(state.service.jobs().workers().await?, |worker| &worker.id)?))
}
