//! `/v1/runs/{id}/alerts`

use axum::extract::Path;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{PageQuery, QueryParams};
use super::problem::{Problem, ProblemBody};
use crate::domain::alert::Alert;
use crate::domain::page::Listing;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(alerts))
}

/// The alerts of a run and their way to the webhook, newest first.
#[utoipa::path(
    get, path = "/v1/runs/{id}/alerts", tag = "runs", operation_id = "run_alerts",
    params(("id" = String, Path, description = "`run_…`"), PageQuery),
    responses(
        (status = 200, description = "A page of alerts", body = Listing<Alert>),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn alerts(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<axum::Json<Listing<Alert>>, Problem> {
    Ok(axum::Json(state.service.runs().alerts(&id, &query.page_of("alrt")?).await?))
}
