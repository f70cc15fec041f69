//! `/v1/jobs`

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::events::{StreamQuery, job_feed};
use super::extract::{Json, OptionalJson, QueryParams, RawJson, list, page_of, query_fault};
use super::problem::{Problem, ProblemBody};
use super::{AppState, idempotency};
use crate::domain::job::{Job, JobAction, JobFilter, JobState, JobUpdate};
use crate::domain::nearest::suggestion;
use crate::domain::page::Listing;
use crate::domain::tree::Tree;
use crate::service::Service;
use crate::service::jobs::plan::JobPlan;
use crate::service::jobs::submit::{JobRequest, SubmittedJob};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create, list_jobs))
        .routes(routes!(get_job, patch_job))
        .routes(routes!(cancel))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(retry))
        .routes(routes!(events))
        .routes(routes!(events_stream))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CreateQuery {
    /// Dry run: only return the plan; nothing is stored.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// Submit a job. Only `model` and `dataset` are required.
///
/// Every other value comes from the request, else from the model's or the data set's recommended settings, else from
/// the defaults; `origins` has the origin of each. With `dry_run=true` the answer is a plan instead: the resolved
/// settings, one fully rendered prompt with its token counts, a memory estimate by part, and the amount of work.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", operation_id = "create_job",
    params(CreateQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "Executes the request only once within 24 hours; a \
            repeat gets the first answer with `Idempotent-Replayed: true`")),
    request_body = JobRequest,
    responses(
        (status = 201, description = "The job, queued", body = SubmittedJob),
        (status = 200, description = "The plan of a dry run", body = JobPlan),
        (status = "4XX", description = "A problem; `errors` names each bad field", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn create(
    state: AppState,
    QueryParams(query): QueryParams<CreateQuery>,
    headers: HeaderMap,
    RawJson { bytes, value: Tree(job) }: RawJson<Tree>,
) -> Result<Response, Problem> {
    if query.dry_run {
        return Ok(axum::Json(state.service.jobs().plan(&job).await?).into_response());
    }
    let service = state.service.clone();
    let work = async move { Ok((StatusCode::CREATED, service.jobs().submit(&job, None).await?)) };
    let again = |service: Service, id: String| async move {
        let job = service.jobs().get(&id).await?;
        Ok((StatusCode::CREATED, SubmittedJob { job, warnings: Vec::new() }))
    };
    idempotency::once(&state.service, &headers, "POST /v1/jobs", &bytes, work, again).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only jobs in these states, separated by commas.
    state: Option<String>,
    /// Only jobs with this tag: `name` or `name:value`. A colon in the name is written `\:`.
    tag: Option<String>,
    /// Only jobs that start from this model.
    model: Option<String>,
    /// Only jobs of this project.
    project: Option<String>,
    /// Only jobs of this sweep.
    sweep: Option<String>,
    /// Entries per page, 1 to 1000 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// List jobs, newest first.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "list_jobs", params(ListQuery),
    responses((status = 200, description = "A page of jobs", body = Listing<Job>))
)]
async fn list_jobs(
    state: AppState,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<axum::Json<Listing<Job>>, Problem> {
    let filter = JobFilter {
        states: states(query.state.as_deref())?,
        project: query.project,
        model: query.model,
        tag: query.tag.as_deref().map(tag),
        sweep: query.sweep,
    };
    Ok(axum::Json(state.service.jobs().list(&filter, &page_of("job", query.limit, query.after)?).await?))
}

/// States from a comma-separated list.
pub fn states(text: Option<&str>) -> Result<Vec<JobState>, Problem> {
    let names: Vec<&str> = JobState::ALL.iter().map(|state| state.name()).collect();
    let unknown =
        |name: &str| query_fault("state", format!("there is no state `{name}`: {}", suggestion(name, &names)));
    list("state", text)?.iter().map(|name| JobState::from_name(name).ok_or_else(|| unknown(name))).collect()
}

/// A tag from `name` or `name:value`; `\:` is a colon of the name itself.
pub fn tag(text: &str) -> (String, Option<String>) {
    let end = text.match_indices(':').map(|(at, _)| at).find(|at| !text[..*at].ends_with('\\'));
    let (name, value) = end.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
    (name.replace("\\:", ":"), value.map(str::to_owned))
}

/// One job with its resolved settings and the origin of each value.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "get_job",
    params(("id" = String, Path, description = "`job_…`")),
    responses((status = 200, body = Job), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn get_job(state: AppState, Path(id): Path<String>) -> Result<axum::Json<Job>, Problem> {
    Ok(axum::Json(state.service.jobs().get(&id).await?))
}

/// Reason of a request about a job.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// For display; stored with the event.
    pub reason: Option<String>,
}

/// Cancel a job. Idempotent; a job that has succeeded or failed cannot be cancelled.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancel_job",
    params(("id" = String, Path, description = "`job_…`")),
    request_body(content = Option<Ask>, description = "Optional"),
    responses(
        (status = 200, description = "The job: `cancelled`, or `cancelling` until its worker has stopped", body = Job),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`state` and `allowed` say what is possible", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn cancel(
    state: AppState,
    Path(id): Path<String>,
    OptionalJson(ask): OptionalJson<Ask>,
) -> Result<axum::Json<Job>, Problem> {
    Ok(axum::Json(state.service.jobs().ask(&id, JobAction::Cancel, ask.reason.as_deref()).await?))
}

/// Pause a running job: its worker saves a checkpoint after the current phase and stops; `resume` continues from there.
/// Idempotent.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/pause", tag = "jobs", operation_id = "pause_job",
    params(("id" = String, Path, description = "`job_…`")),
    request_body(content = Option<Ask>, description = "Optional"),
    responses(
        (status = 200, description = "The job: `pausing` until its worker has stopped, then `paused`", body = Job),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`state` and `allowed` say what is possible", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn pause(
    state: AppState,
    Path(id): Path<String>,
    OptionalJson(ask): OptionalJson<Ask>,
) -> Result<axum::Json<Job>, Problem> {
    Ok(axum::Json(state.service.jobs().ask(&id, JobAction::Pause, ask.reason.as_deref()).await?))
}

/// Resume a paused job from its checkpoint. Idempotent while the job is queued or running.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/resume", tag = "jobs", operation_id = "resume_job",
    params(("id" = String, Path, description = "`job_…`")),
    request_body(content = Option<Ask>, description = "Optional"),
    responses(
        (status = 200, description = "The job, queued", body = Job),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`state` and `allowed` say what is possible", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn resume(
    state: AppState,
    Path(id): Path<String>,
    OptionalJson(ask): OptionalJson<Ask>,
) -> Result<axum::Json<Job>, Problem> {
    Ok(axum::Json(state.service.jobs().ask(&id, JobAction::Resume, ask.reason.as_deref()).await?))
}

/// Queue a failed or cancelled job again: it continues from its newest checkpoint, has all its attempts again, and a
/// scheduled start is dropped. Idempotent while the job is queued or running.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", tag = "jobs", operation_id = "retry_job",
    params(("id" = String, Path, description = "`job_…`")),
    request_body(content = Option<Ask>, description = "Optional"),
    responses(
        (status = 200, description = "The job, queued", body = Job),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409,
            description = "`state` and `allowed` say what is possible; or its run was continued by another \
                          job", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn retry(
    state: AppState,
    Path(id): Path<String>,
    OptionalJson(ask): OptionalJson<Ask>,
) -> Result<axum::Json<Job>, Problem> {
    Ok(axum::Json(state.service.jobs().ask(&id, JobAction::Retry, ask.reason.as_deref()).await?))
}

/// Changes to a job; absent fields are not changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct JobPatch {
    /// A new priority; jobs with higher priority run first.
    priority: Option<i64>,
    /// New tags; they replace all old ones.
    tags: Option<BTreeMap<String, String>>,
}

/// Change a job's priority or tags, with a `job.updated` event. `spec` is not changed.
#[utoipa::path(
    patch, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "update_job",
    params(("id" = String, Path, description = "`job_…`")),
    request_body = JobPatch,
    responses(
        (status = 200, description = "The job after the change", body = Job),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn patch_job(
    state: AppState,
    Path(id): Path<String>,
    Json(patch): Json<JobPatch>,
) -> Result<axum::Json<Job>, Problem> {
    let update = JobUpdate { priority: patch.priority, tags: patch.tags };
    Ok(axum::Json(state.service.jobs().update(&id, &update).await?))
}

/// Events of a job: a page, or with `Accept: text/event-stream` a live stream that ends with `end`.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs", operation_id = "job_events",
    params(("id" = String, Path, description = "`job_…`"), StreamQuery),
    responses(
        (status = 200, description = "Events in order; or server-sent events", content(
            (Listing<crate::domain::event::Event> = "application/json"), (String = "text/event-stream"))),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn events(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    job_feed(&state, &id, &query, &headers, super::sse::wants_stream(&headers)).await
}

/// Live stream of a job's events, whatever the Accept header.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events/stream", tag = "jobs", operation_id = "job_events_stream",
    params(("id" = String, Path, description = "`job_…`"), StreamQuery),
    responses(
        (status = 200, description = "Server-sent events; `id` is the event's sequence number", body = String,
            content_type = "text/event-stream"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn events_stream(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    job_feed(&state, &id, &query, &headers, true).await
}
