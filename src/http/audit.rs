//! `/v1/audit`

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{PageQuery, QueryParams};
use super::problem::Problem;
use crate::domain::access::AuditEntry;
use crate::domain::page::Listing;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(audit))
}

/// List the audit log, newest first: keys, jobs, runs, sweeps, checkpoints, models and data sets that were created,
/// changed or deleted.
#[utoipa::path(
    get, path = "/v1/audit", tag = "access", operation_id = "audit", params(PageQuery),
    responses((status = 200, description = "A page of entries", body = Listing<AuditEntry>))
)]
async fn audit(
    state: AppState,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<axum::Json<Listing<AuditEntry>>, Problem> {
    Ok(axum::Json(state.service.access().audit(&query.page_from()?).await?))
}
