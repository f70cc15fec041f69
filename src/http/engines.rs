//! `/v1/engines`

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{QueryParams, WholeQuery};
use super::problem::Problem;
use crate::domain::engine::EngineRecord;
use crate::domain::page::Listing;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_engines))
}

/// Engines that serve other servers and sent a heartbeat within ten seconds, oldest first.
#[utoipa::path(
    get, path = "/v1/engines", tag = "workers", operation_id = "list_engines", params(WholeQuery),
    responses((status = 200, description = "Engines with address, device, models and load",
        body = Listing<EngineRecord>))
)]
async fn list_engines(
    state: AppState,
    QueryParams(query): QueryParams<WholeQuery>,
) -> Result<axum::Json<Listing<EngineRecord>>, Problem> {
    Ok(axum::Json(query.cut(state.service.inference().engines().await?, |engine| &engine.id)?))
}
