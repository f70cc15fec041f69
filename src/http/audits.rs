//! `/v1/audits` and `/v1/runs/{id}/audit`

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::RawJson;
use super::problem::{Problem, ProblemBody};
use super::{AppState, idempotency};
use crate::domain::tree::Tree;
use crate::service::Service;
use crate::service::jobs::audits::AuditRequest;
use crate::service::jobs::submit::SubmittedJob;
use crate::service::runs::audit::AuditResult;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(result))
}

/// Submit an audit: does looking decide this model's answers to this data set, and does its focus tell where?
///
/// An audit is a job of method `eval` with `audit` true: it answers rows, and measures for every token of the responses
/// how much it depends on the image. Its run has the results as metrics `audit/…`, its rows those of every response.
#[utoipa::path(
    post, path = "/v1/audits", tag = "jobs", operation_id = "create_audit",
    params(("Idempotency-Key" = Option<String>, Header, description = "Executes the request only once within 24 \
        hours; a repeat gets the first answer with `Idempotent-Replayed: true`")),
    request_body = AuditRequest,
    responses(
        (status = 201, description = "The job, queued", body = SubmittedJob),
        (status = "4XX", description = "A problem; `errors` names each bad field", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn create(
    state: AppState,
    headers: HeaderMap,
    RawJson { bytes, value: Tree(request) }: RawJson<Tree>,
) -> Result<Response, Problem> {
    let service = state.service.clone();
    let work = async move { Ok((StatusCode::CREATED, service.jobs().submit_audit(&request, None).await?)) };
    let again = |service: Service, id: String| async move {
        let job = service.jobs().get(&id).await?;
        Ok((StatusCode::CREATED, SubmittedJob { job, warnings: Vec::new() }))
    };
    idempotency::once(&state.service, &headers, "POST /v1/audits", &bytes, work, again).await
}

/// What an audit has measured so far, and what visual weights are likely to gain where audits look like this one. A run
/// that is no audit has no metrics and no forecast.
#[utoipa::path(
    get, path = "/v1/runs/{id}/audit", tag = "runs", operation_id = "run_audit",
    params(("id" = String, Path, description = "`run_…`")),
    responses(
        (status = 200, body = AuditResult),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn result(state: AppState, Path(id): Path<String>) -> Result<axum::Json<AuditResult>, Problem> {
    Ok(axum::Json(state.service.runs().audit(&id).await?))
}
