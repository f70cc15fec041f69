//! `/v1/runs/{id}/metrics`

use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{QueryParams, list, query_fault};
use super::metric_keys::Keys;
use super::problem::{Problem, ProblemBody};
use super::{AppState, sse};
use crate::domain::event::{EventFilter, kind};
use crate::domain::metric::{CATALOGUE, MetricInfo, SeriesQuery};
use crate::domain::page::Listing;
use crate::service::jobs::events::{Follow, StartAt};
use crate::service::runs::compare::{CompareQuery, Comparison};
use crate::service::runs::metrics::{DescribedKey, MetricSeries};

pub(super) const MAX_POINTS: u32 = 10_000;
const DEFAULT_POINTS: u32 = 1000;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(catalogue))
        .routes(routes!(series))
        .routes(routes!(csv))
        .routes(routes!(keys))
        .routes(routes!(stream))
        .routes(routes!(compare))
}

/// Every metric that trainers measure, what it means, and which ones are headlines.
#[utoipa::path(
    get, path = "/v1/metrics/catalogue", tag = "metrics", operation_id = "metric_catalogue",
    responses((status = 200, description = "Headlines have a short name", body = Listing<MetricInfo>))
)]
async fn catalogue() -> axum::Json<Listing<MetricInfo>> {
    axum::Json(Listing::whole(CATALOGUE.to_vec()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SeriesParams {
    /// First step.
    from_step: Option<u64>,
    /// Last step.
    to_step: Option<u64>,
    /// More points than this are combined into buckets with mean, min and max: 1 to 10000 (default 1000).
    max_points: Option<u32>,
}

/// Series of a run, in buckets if there are more points than requested.
#[utoipa::path(
    get, path = "/v1/runs/{id}/metrics", tag = "metrics", operation_id = "run_metrics",
    params(
        ("id" = String, Path, description = "`run_…`"),
        ("keys" = Option<Vec<String>>, Query, description = "Keys, `visual/*` for all with this prefix; by default \
            every key of the run. May be repeated or separated by commas (unless the run has keys with commas)"),
        SeriesParams
    ),
    responses(
        (status = 200, description = "One entry per key", body = Listing<MetricSeries>),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn series(
    state: AppState,
    Path(id): Path<String>,
    Keys(keys): Keys,
    QueryParams(params): QueryParams<SeriesParams>,
) -> Result<axum::Json<Listing<MetricSeries>>, Problem> {
    let max_points = bounded(params.max_points)?;
    in_order(params.from_step, params.to_step)?;
    let query = SeriesQuery { from_step: params.from_step, to_step: params.to_step, max_points: Some(max_points) };
    let series = state.service.runs().metric_series(&id, &keys, &query).await?;
    Ok(axum::Json(Listing::whole(series)))
}

fn in_order(from_step: Option<u64>, to_step: Option<u64>) -> Result<(), Problem> {
    match (from_step, to_step) {
        (Some(from), Some(to)) if from > to => {
            Err(query_fault("from_step", format!("`from_step` is {from}, which is after `to_step` ({to})")))
        }
        _ => Ok(()),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CsvParams {
    /// First step.
    from_step: Option<u64>,
    /// Last step.
    to_step: Option<u64>,
}

/// All points of a run as CSV: one line per step, one column per key.
#[utoipa::path(
    get, path = "/v1/runs/{id}/metrics.csv", tag = "metrics", operation_id = "run_metrics_csv",
    params(
        ("id" = String, Path, description = "`run_…`"),
        ("keys" = Option<Vec<String>>, Query, description = "Keys, `visual/*` for all with this prefix; by default \
            every key of the run. May be repeated or separated by commas (unless the run has keys with commas)"),
        CsvParams
    ),
    responses(
        (status = 200, description = "A table with a head; cells without a value are empty", body = String,
            content_type = "text/csv"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn csv(
    state: AppState,
    Path(id): Path<String>,
    Keys(keys): Keys,
    QueryParams(params): QueryParams<CsvParams>,
) -> Result<Response, Problem> {
    in_order(params.from_step, params.to_step)?;
    let query = SeriesQuery { from_step: params.from_step, to_step: params.to_step, max_points: None };
    let table = state.service.runs().metrics_csv(&id, &keys, &query).await?;
    let name = format!("attachment; filename=\"{id}.csv\"");
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, table).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CompareParams {
    /// The metric.
    key: String,
    /// Runs to compare, separated by commas.
    runs: Option<String>,
    /// Compare the runs of this sweep.
    sweep: Option<String>,
    /// Settings that define the groups, separated by commas: `method.type` or `/method/type`. By default every run is
    /// its own group.
    group_by: Option<String>,
    /// First step.
    from_step: Option<u64>,
    /// Last step.
    to_step: Option<u64>,
    /// More steps than this are combined into this number of buckets: 1 to 10000 (default 1000).
    max_points: Option<u32>,
}

/// Compare runs by one metric: mean over the runs of each group with its 95% interval (Student's t), step by step.
#[utoipa::path(
    get, path = "/v1/metrics", tag = "metrics", operation_id = "compare_metrics", params(CompareParams),
    responses(
        (status = 200, description = "One curve per group, over the same steps", body = Comparison),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn compare(
    state: AppState,
    QueryParams(params): QueryParams<CompareParams>,
) -> Result<axum::Json<Comparison>, Problem> {
    in_order(params.from_step, params.to_step)?;
    let runs = list("runs", params.runs.as_deref())?;
    if runs.is_empty() && params.sweep.is_none() {
        return Err(query_fault("runs", "name what to compare: `runs=run_…,run_…` or `sweep=swp_…`"));
    }
    let query = CompareQuery {
        runs,
        sweep: params.sweep,
        key: params.key,
        group_by: list("group_by", params.group_by.as_deref())?,
        from_step: params.from_step,
        to_step: params.to_step,
        max_points: u64::from(bounded(params.max_points)?),
    };
    Ok(axum::Json(state.service.runs().compare(&query).await?))
}

fn bounded(max_points: Option<u32>) -> Result<u32, Problem> {
    let max_points = max_points.unwrap_or(DEFAULT_POINTS);
    if (1..=MAX_POINTS).contains(&max_points) {
        return Ok(max_points);
    }
    Err(query_fault("max_points", format!("`max_points` is {max_points}; it must be from 1 to {MAX_POINTS}")))
}

/// The metrics of a run: each key with unit, meaning, newest value and range.
#[utoipa::path(
    get, path = "/v1/runs/{id}/metrics/keys", tag = "metrics", operation_id = "run_metric_keys",
    params(("id" = String, Path, description = "`run_…`")),
    responses(
        (status = 200, description = "Keys in alphabetical order", body = Listing<DescribedKey>),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn keys(state: AppState, Path(id): Path<String>) -> Result<axum::Json<Listing<DescribedKey>>, Problem> {
    Ok(axum::Json(Listing::whole(state.service.runs().metric_keys(&id).await?)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LiveParams {
    /// Begin after this sequence number instead of at the start (a `Last-Event-ID` header takes precedence).
    after: Option<String>,
}

/// Live stream of a run's metrics: `metrics`, `rewind` (a resumed job replaces later steps) and `job` events, then
/// `end`.
#[utoipa::path(
    get, path = "/v1/runs/{id}/metrics/stream", tag = "metrics", operation_id = "run_metrics_stream",
    params(("id" = String, Path, description = "`run_…`"), LiveParams),
    responses(
        (status = 200, description = "Server-sent events; `id` is the event's sequence number", body = String,
            content_type = "text/event-stream"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn stream(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(params): QueryParams<LiveParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = state.service.runs().get(&id).await?;
    let kinds = [kind::METRICS, kind::REWIND, kind::JOB].map(ToOwned::to_owned).to_vec();
    let filter = EventFilter { runs: vec![id], kinds, ..EventFilter::default() };
    let from = sse::start(&headers, params.after.as_deref(), StartAt::Start)?;
    sse::stream(&state.service, Follow { filter, from, until: Some(run.job_id) }).await
}
