//! `/v1/audit`

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::AppState;
use super::extract::{QueryParams, page};
use super::problem::Problem;
use crate::domain::access::AuditEntry;
use crate::domain::page::Listing;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(audit))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Entries of a page, 1 to 1000 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Who did what, newest first: keys, jobs, runs, sweeps, checkpoints, models and data sets that were made, changed or
/// deleted.
#[utoipa::path(
    get, path = "/v1/audit", tag = "access", operation_id = "audit", params(ListQuery),
    responses((status = 200, description = "A page of entries", body = Listing<AuditEntry>))
)]
async fn audit(
    state: AppState,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<axum::Json<Listing<AuditEntry>>, Problem> {
    Ok(axum::Json(state.service.audit(&page(query.limit, query.after)?).await?))
}
