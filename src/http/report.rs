//! `/v1/runs/{id}/report`

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::problem::{Problem, ProblemBody};

/// The report brings its own style and pictures, and nothing else may load or run.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'");

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(report))
}

/// A run as one self-contained HTML file: figures, curves, samples with heat maps, settings.
#[utoipa::path(
    get, path = "/v1/runs/{id}/report", tag = "runs", operation_id = "run_report",
    params(("id" = String, Path, description = "`run_…`")),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn report(state: AppState, Path(id): Path<String>) -> Result<Response, Problem> {
    let mut response = Html(state.service.runs().report(&id).await?).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
