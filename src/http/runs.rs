//! `/v1/runs`

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::TryStreamExt as _;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Json, QueryParams, RawJson, list, page_of, query_fault};
use super::jobs::{states, tag};
use super::problem::{Problem, ProblemBody};
use super::{AppState, idempotency};
use crate::domain::job::Job;
use crate::domain::nearest::suggestion;
use crate::domain::page::Listing;
use crate::domain::run::{Run, RunFilter, RunUpdate};
use crate::domain::sample::{SampleRecord, SampleStep};
use crate::service::Service;
use crate::service::runs::{Include, RunEntry};

const SPARKLINE_POINTS: u32 = 30;
pub(super) const MAX_SPARKLINE_POINTS: u32 = 200;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_runs))
        .routes(routes!(get_run, patch_run, delete_run))
        .routes(routes!(continue_run))
        .routes(routes!(samples))
        .routes(routes!(sample_steps))
        .routes(routes!(samples_csv))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only runs whose job is in these states, separated by commas.
    state: Option<String>,
    /// Only runs with this tag: `name` or `name:value`. A colon in the name is written `\:`.
    tag: Option<String>,
    /// Only runs that started from this model.
    model: Option<String>,
    /// Only runs on this data set.
    dataset: Option<String>,
    /// Only runs of this project.
    project: Option<String>,
    /// Only runs of this sweep.
    sweep: Option<String>,
    /// Additional fields of every run: `summary` (last and best values of metrics) and `sparklines` (small curves),
    /// separated by commas.
    include: Option<String>,
    /// Metric keys of summary and sparklines, separated by commas; default: accuracy, reward, loss and visual focus.
    keys: Option<String>,
    /// Maximum number of points of a sparkline: 1 to 200 (default 30).
    points: Option<u32>,
    /// Entries per page, 1 to 1000 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

impl ListQuery {
    fn included(&self) -> Result<Include, Problem> {
        let points = self.points.unwrap_or(SPARKLINE_POINTS);
        if !(1..=MAX_SPARKLINE_POINTS).contains(&points) {
            let detail = format!("`points` is {points}; it must be from 1 to {MAX_SPARKLINE_POINTS}");
            return Err(query_fault("points", detail));
        }
        let mut include = Include { keys: list("keys", self.keys.as_deref())?, ..Include::default() };
        for name in list("include", self.include.as_deref())? {
            match name.as_str() {
                "summary" => include.summary = true,
                "sparklines" => include.sparklines = Some(points),
                _ => {
                    let hint = suggestion(&name, &["summary", "sparklines"]);
                    return Err(query_fault("include", format!("`{name}` cannot be included: {hint}")));
                }
            }
        }
        Ok(include)
    }
}

/// List runs, newest first.
#[utoipa::path(
    get, path = "/v1/runs", tag = "runs", operation_id = "list_runs", params(ListQuery),
    responses((status = 200, description = "A page of runs", body = Listing<RunEntry>))
)]
async fn list_runs(
    state: AppState,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<axum::Json<Listing<RunEntry>>, Problem> {
    let include = query.included()?;
    let filter = RunFilter {
        states: states(query.state.as_deref())?,
        project: query.project,
        model: query.model,
        dataset: query.dataset,
        tag: query.tag.as_deref().map(tag),
        sweep: query.sweep,
    };
    Ok(axum::Json(state.service.runs().list(&filter, &page_of("run", query.limit, query.after)?, &include).await?))
}

/// One run: its state, last and best results. Its settings are those of its job.
#[utoipa::path(
    get, path = "/v1/runs/{id}", tag = "runs", operation_id = "get_run",
    params(("id" = String, Path, description = "`run_…`")),
    responses((status = 200, body = Run), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn get_run(state: AppState, Path(id): Path<String>) -> Result<axum::Json<Run>, Problem> {
    Ok(axum::Json(state.service.runs().get(&id).await?))
}

/// Changes to a run; absent fields are not changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RunPatch {
    /// A new name.
    name: Option<String>,
    /// New notes; an empty string removes them.
    notes: Option<String>,
    /// New tags; they replace all old ones.
    tags: Option<BTreeMap<String, String>>,
}

/// Change a run's name, notes or tags.
#[utoipa::path(
    patch, path = "/v1/runs/{id}", tag = "runs", operation_id = "update_run",
    params(("id" = String, Path, description = "`run_…`")),
    request_body = RunPatch,
    responses(
        (status = 200, description = "The run after the change", body = Run),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn patch_run(
    state: AppState,
    Path(id): Path<String>,
    Json(patch): Json<RunPatch>,
) -> Result<axum::Json<Run>, Problem> {
    let update = RunUpdate { name: patch.name, notes: patch.notes, tags: patch.tags };
    Ok(axum::Json(state.service.runs().update(&id, &update).await?))
}

/// Delete a run with its jobs, metrics, samples and checkpoints, once its job has ended.
#[utoipa::path(
    delete, path = "/v1/runs/{id}", tag = "runs", operation_id = "delete_run",
    params(("id" = String, Path, description = "`run_…`")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409,
            description = "Its job has not ended, or it is in use (`holders`): a served name, jobs that start from its \
                          checkpoints or wait for it", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn delete_run(state: AppState, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    state.service.runs().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How far to continue a run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ContinueRequest {
    /// Steps beyond the run's newest checkpoint.
    steps: u64,
}

/// Continue a run that has ended: a new job on the same run, from its newest checkpoint, with the optimizer's state and
/// the position in the data. Its metrics and samples are appended to the existing ones.
#[utoipa::path(
    post, path = "/v1/runs/{id}/continue", tag = "runs", operation_id = "continue_run",
    params(("id" = String, Path, description = "`run_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Executes the request only once within 24 hours; a \
            repeat gets the first answer with `Idempotent-Replayed: true`")),
    request_body = ContinueRequest,
    responses(
        (status = 201, description = "The new job, queued; its `steps` count from the beginning of the run",
            body = Job),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Its job has not ended, or it has no checkpoint", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn continue_run(
    state: AppState,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawJson { bytes, value: ContinueRequest { steps } }: RawJson<ContinueRequest>,
) -> Result<Response, Problem> {
    let (service, route) = (state.service.clone(), format!("POST /v1/runs/{id}/continue"));
    let work = async move { Ok((StatusCode::CREATED, service.runs().continue_run(&id, steps, None).await?)) };
    let again = |service: Service, id: String| async move { Ok((StatusCode::CREATED, service.jobs().get(&id).await?)) };
    idempotency::once(&state.service, &headers, &route, &bytes, work, again).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SamplesQuery {
    /// Only samples of this step.
    step: Option<u64>,
    /// Entries per page, 1 to 1000 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// Sample rollouts: prompt, images, and every response of the group with its rewards and weights by token.
#[utoipa::path(
    get, path = "/v1/runs/{id}/samples", tag = "runs", operation_id = "run_samples",
    params(("id" = String, Path, description = "`run_…`"), SamplesQuery),
    responses(
        (status = 200, description = "A page of samples in the order of steps", body = Listing<SampleRecord>),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn samples(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<SamplesQuery>,
) -> Result<axum::Json<Listing<SampleRecord>>, Problem> {
    Ok(axum::Json(state.service.runs().samples(&id, query.step, &page_of("smp", query.limit, query.after)?).await?))
}

/// The steps of a run that have samples.
#[utoipa::path(
    get, path = "/v1/runs/{id}/samples/steps", tag = "runs", operation_id = "run_sample_steps",
    params(("id" = String, Path, description = "`run_…`")),
    responses(
        (status = 200, description = "Steps in order", body = Listing<SampleStep>),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn sample_steps(state: AppState, Path(id): Path<String>) -> Result<axum::Json<Listing<SampleStep>>, Problem> {
    Ok(axum::Json(Listing::whole(state.service.runs().sample_steps(&id).await?)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SamplesCsvQuery {
    /// Only samples of this step.
    step: Option<u64>,
}

/// Samples token by token as CSV, a line per token: log-prob, focus, shares of attention, psi, phi, advantages and
/// reward. What was not measured is empty. The table is written while it is read.
#[utoipa::path(
    get, path = "/v1/runs/{id}/samples.csv", tag = "runs", operation_id = "run_samples_csv",
    params(("id" = String, Path, description = "`run_…`"), SamplesCsvQuery),
    responses(
        (status = 200, description = "A table with a head", body = String, content_type = "text/csv"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn samples_csv(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<SamplesCsvQuery>,
) -> Result<Response, Problem> {
    let table = state.service.runs().samples_csv(&id, query.step).await?;
    let name = format!("attachment; filename=\"{id}-samples.csv\"");
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(table.map_err(std::io::Error::other))).into_response())
}
