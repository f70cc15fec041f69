//! `/v1/runs`

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{Json, QueryParams, page};
use super::jobs::{states, tag};
use super::problem::{Problem, ProblemBody};
use crate::domain::page::Listing;
use crate::domain::run::{Run, RunFilter, RunUpdate};
use crate::domain::sample::{SampleRecord, SampleStep};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_runs))
        .routes(routes!(get_run, patch_run))
        .routes(routes!(samples))
        .routes(routes!(sample_steps))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only runs whose job is in these states, separated by commas.
    state: Option<String>,
    /// Only runs with this label: `name` or `name:value`.
    tag: Option<String>,
    /// Only runs that started from this model.
    model: Option<String>,
    /// Only runs on this data set.
    dataset: Option<String>,
    /// Only runs of this project.
    project: Option<String>,
    /// Entries of a page, 1 to 1000 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// List runs, newest first.
#[utoipa::path(
    get, path = "/v1/runs", tag = "runs", operation_id = "list_runs", params(ListQuery),
    responses((status = 200, description = "A page of runs", body = Listing<Run>))
)]
async fn list_runs(
    State(state): State<AppState>,
    QueryParams(query): QueryParams<ListQuery>,
) -> Result<axum::Json<Listing<Run>>, Problem> {
    let filter = RunFilter {
        states: states(query.state.as_deref())?,
        project: query.project,
        model: query.model,
        dataset: query.dataset,
        tag: query.tag.as_deref().map(tag),
    };
    Ok(axum::Json(state.service.runs(&filter, &page(query.limit, query.after)?).await?))
}

/// One run: its state, last and best results. Its settings are those of its job.
#[utoipa::path(
    get, path = "/v1/runs/{id}", tag = "runs", operation_id = "get_run", params(("id" = String, Path, description = "`run_…`")),
    responses((status = 200, body = Run), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn get_run(State(state): State<AppState>, Path(id): Path<String>) -> Result<axum::Json<Run>, Problem> {
    Ok(axum::Json(state.service.run(&id).await?))
}

/// What people may change about a run; absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RunPatch {
    /// A new name.
    name: Option<String>,
    /// New notes; an empty text removes them.
    notes: Option<String>,
    /// New labels in place of all old ones.
    tags: Option<BTreeMap<String, String>>,
}

/// Change a run's name, notes or labels.
#[utoipa::path(
    patch, path = "/v1/runs/{id}", tag = "runs", operation_id = "update_run", params(("id" = String, Path, description = "`run_…`")),
    request_body = RunPatch,
    responses(
        (status = 200, description = "The run after the change", body = Run),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn patch_run(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Json(patch): Json<RunPatch>,
) -> Result<axum::Json<Run>, Problem> {
    let update = RunUpdate { name: patch.name, notes: patch.notes, tags: patch.tags };
    Ok(axum::Json(state.service.update_run(&id, &update).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SamplesQuery {
    /// Only samples of this step.
    step: Option<u64>,
    /// Entries of a page, 1 to 1000 (default 50).
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
    State(state): State<AppState>,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<SamplesQuery>,
) -> Result<axum::Json<Listing<SampleRecord>>, Problem> {
    Ok(axum::Json(state.service.samples(&id, query.step, &page(query.limit, query.after)?).await?))
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
async fn sample_steps(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<axum::Json<Listing<SampleStep>>, Problem> {
    Ok(axum::Json(Listing::whole(state.service.sample_steps(&id).await?)))
}
