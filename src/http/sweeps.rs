//! `/v1/sweeps`

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OptionalJson, QueryParams, RawJson, list, page_of};
use super::jobs::{Ask, CreateQuery};
use super::problem::{Problem, ProblemBody};
use super::{AppState, idempotency};
use crate::domain::page::Listing;
use crate::domain::sweep::SweepFilter;
use crate::service::Service;
use crate::service::runs::sweeps::{SubmittedSweep, SweepEntry, SweepPlan, SweepRequest};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create, list_sweeps))
        .routes(routes!(get_sweep, delete_sweep))
        .routes(routes!(cancel))
}

/// Submit a job for every combination of a grid of settings: all of them or none.
///
/// The names of the jobs contain the varied settings. `GET /v1/metrics?sweep=…&group_by=…` compares the results. With
/// `dry_run=true` every point is checked, and the answer is the number of jobs and the work of all of them together.
#[utoipa::path(
    post, path = "/v1/sweeps", tag = "sweeps", operation_id = "create_sweep",
    params(CreateQuery, ("Idempotency-Key" = Option<String>, Header,
        description = "Executes the request only once within 24 hours; a repeat gets the first answer with \
                      `Idempotent-Replayed: true`")),
    request_body = SweepRequest,
    responses(
        (status = 201, description = "The sweep with its jobs, queued", body = SubmittedSweep),
        (status = 200, description = "The plan of a dry run", body = SweepPlan),
        (status = "4XX", description = "A problem; `errors` names each bad field below `/job` or `/grid`",
            body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn create(
    state: AppState,
    QueryParams(query): QueryParams<CreateQuery>,
    headers: HeaderMap,
    RawJson { bytes, value: request }: RawJson<SweepRequest>,
) -> Result<Response, Problem> {
    if query.dry_run {
        return Ok(axum::Json(state.service.runs().plan_sweep(&request).await?).into_response());
    }
    let service = state.service.clone();
    let work = async move { Ok((StatusCode::CREATED, service.runs().submit_sweep(request, None).await?)) };
    let again = |service: Service, id: String| async move {
        Ok((StatusCode::CREATED, service.runs().submitted_sweep(&id).await?))
    };
    idempotency::once(&state.service, &headers, "POST /v1/sweeps", &bytes, work, again).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only sweeps of this project.
    project: Option<String>,
    /// Entries per page, 1 to 1000 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// List sweeps, newest first.
#[utoipa::path(
    get, path = "/v1/sweeps", tag = "sweeps", operation_id = "list_sweeps", params(ListQuery),
    responses((status = 200, description = "A page of sweeps", body = Listing<SweepEntry>))
)]
async fn list_sweeps(
    state: AppState,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<axum::Json<Listing<SweepEntry>>, Problem> {
    let filter = SweepFilter { project: query.project };
    Ok(axum::Json(state.service.runs().sweeps(&filter, &page_of("swp", query.limit, query.after)?).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GetQuery {
    /// Metric keys to include for every run, separated by commas; default: accuracy, reward, loss and visual focus.
    keys: Option<String>,
}

/// One sweep: every point with its state and its last and best metrics.
#[utoipa::path(
    get, path = "/v1/sweeps/{id}", tag = "sweeps", operation_id = "get_sweep",
    params(("id" = String, Path, description = "`swp_…`"), GetQuery),
    responses((status = 200, body = SweepEntry),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn get_sweep(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<GetQuery>,
) -> Result<axum::Json<SweepEntry>, Problem> {
    Ok(axum::Json(state.service.runs().sweep(&id, &list("keys", query.keys.as_deref())?).await?))
}

/// Delete a sweep with its runs, once all of its jobs have ended.
#[utoipa::path(
    delete, path = "/v1/sweeps/{id}", tag = "sweeps", operation_id = "delete_sweep",
    params(("id" = String, Path, description = "`swp_…`")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409,
            description = "A job has not ended, or one of its runs is in use (`holders`); runs that were deleted \
                          before that one stay deleted", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn delete_sweep(state: AppState, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    state.service.runs().delete_sweep(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancel every job of a sweep that has not ended yet. Idempotent.
#[utoipa::path(
    post, path = "/v1/sweeps/{id}/cancel", tag = "sweeps", operation_id = "cancel_sweep",
    params(("id" = String, Path, description = "`swp_…`")),
    request_body(content = Option<Ask>, description = "Optional"),
    responses((status = 200, body = SweepEntry),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn cancel(
    state: AppState,
    Path(id): Path<String>,
    OptionalJson(ask): OptionalJson<Ask>,
) -> Result<axum::Json<SweepEntry>, Problem> {
    Ok(axum::Json(state.service.runs().cancel_sweep(&id, ask.reason.as_deref()).await?))
}
