//! `/metrics`

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::problem::Problem;
use crate::telemetry::MEDIA_TYPE;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Figures for Prometheus: requests, queue, workers, running jobs, engine.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "prometheus_metrics",
    responses((status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"))
)]
async fn metrics(state: AppState) -> Result<Response, Problem> {
    let text = state.root().admin().figures().await?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}
