//! `/v1/runs/{id}/rows`: what an evaluation answered, as a stream of lines; `/v1/runs/{id}/eval-rows`: the same by
//! page, summed up, and two of them compared.

use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use tokio_util::io::ReaderStream;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{QueryParams, list, page, query_fault};
use super::problem::{Problem, ProblemBody};
use super::{AppState, answer};
use crate::domain::eval_row::EvalRow;
use crate::domain::nearest::suggestion;
use crate::domain::page::Listing;
use crate::service::runs::evaluations::compare::{Change, EvalComparison, PairQuery};
use crate::service::runs::evaluations::summary::EvaluationSummary;
use crate::service::runs::evaluations::{RowOrder, RowQuery, Verdict};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(rows))
        .routes(routes!(eval_rows))
        .routes(routes!(eval_summary))
        .routes(routes!(compare_evaluations))
}

/// The rows of an evaluation (method `eval`) that are answered so far, with every response, verdict and visual summary:
/// one `EvalRow` per line, in the order of the data set.
#[utoipa::path(
    get, path = "/v1/runs/{id}/rows", tag = "runs", operation_id = "run_rows",
    params(("id" = String, Path, description = "`run_…`")),
    responses(
        (status = 200, description = "JSON lines", body = EvalRow, content_type = "application/jsonl"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn rows(state: AppState, Path(id): Path<String>) -> Result<Response, Problem> {
    let files = state.service.runs().rows(&id).await?;
    Ok(([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(joined(files))).into_response())
}

/// The files one after the other, a block at a time.
fn joined(files: Vec<PathBuf>) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::iter(files).then(tokio::fs::File::open).map_ok(ReaderStream::new).try_flatten()
}

/// Most rows of a page: each has every response.
const MAX_ROWS: u32 = 200;

/// The value of `name` among `known`.
fn named<T: Copy>(name: &str, text: &str, known: &[(&'static str, T)]) -> Result<T, Problem> {
    let found = known.iter().find(|(known, _)| *known == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
        query_fault(name, format!("`{name}` cannot be `{text}`: {}", suggestion(text, &names)))
    })
}

/// The number of rows, and the row to continue after.
fn rows_page(limit: Option<u32>, after: Option<u64>) -> Result<(u32, Option<u64>), Problem> {
    let limit = page(limit, None)?.limit;
    if limit > MAX_ROWS {
        return Err(query_fault("limit", format!("`limit` is {limit}; it must be from 1 to {MAX_ROWS}")));
    }
    Ok((limit, after))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EvalRowsQuery {
    /// The evaluation at this step, or the newest one before it; default: the newest. A run of method `eval` has one,
    /// at every step.
    step: Option<u64>,
    /// Only rows that were answered this way: `right` or `wrong`.
    verdict: Option<String>,
    /// Only rows with this tag.
    tag: Option<String>,
    /// `row` (default), `focus`, `reward` or `late_early`: focus of the last third over that of the first. Rows without
    /// the value come last.
    sort: Option<String>,
    /// `asc` (default) or `desc`.
    order: Option<String>,
    /// Rows per page, 1 to 200 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before: the number of its last row.
    after: Option<u64>,
}

/// Rows of an evaluation, filtered and sorted: of a run of method `eval`, or of one of the evaluations that a run made
/// while it trained. The latter are kept unless `log_samples_every` is 0.
#[utoipa::path(
    get, path = "/v1/runs/{id}/eval-rows", tag = "runs", operation_id = "run_eval_rows",
    params(("id" = String, Path, description = "`run_…`"), EvalRowsQuery),
    responses(
        (status = 200, description = "A page of rows", body = Listing<EvalRow>),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run has no rows of an evaluation", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn eval_rows(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<EvalRowsQuery>,
) -> Result<Response, Problem> {
    let verdict = query.verdict.as_deref().map(|text| named("verdict", text, &Verdict::NAMES)).transpose()?;
    let order = query.sort.as_deref().map(|text| named("sort", text, &RowOrder::NAMES)).transpose()?;
    let orders = [("asc", false), ("desc", true)];
    let descending = query.order.as_deref().map(|text| named("order", text, &orders)).transpose()?;
    let (limit, after) = rows_page(query.limit, query.after)?;
    let (order, descending) = (order.unwrap_or_default(), descending.unwrap_or_default());
    let wanted = RowQuery { step: query.step, verdict, tag: query.tag, order, descending, limit, after };
    answer::large(state.service.runs().eval_rows(&id, wanted).await?).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SummaryQuery {
    /// The evaluation at this step, or the newest one before it; default: the newest.
    step: Option<u64>,
}

/// What the rows of an evaluation add up to: accuracy as a whole and by tag with 95% intervals, means over rows, visual
/// focus along all responses, and the steps with an evaluation. A run that was not evaluated so far has no rows.
#[utoipa::path(
    get, path = "/v1/runs/{id}/eval-rows/summary", tag = "runs", operation_id = "run_eval_summary",
    params(("id" = String, Path, description = "`run_…`"), SummaryQuery),
    responses(
        (status = 200, body = EvaluationSummary),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The run was not evaluated at this step or before", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn eval_summary(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<SummaryQuery>,
) -> Result<axum::Json<EvaluationSummary>, Problem> {
    Ok(axum::Json(state.service.runs().eval_summary(&id, query.step).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PairParams {
    /// The run to compare with; the same run compares two of its steps.
    with: String,
    /// The evaluation of the first run at this step, or its newest one before it; default: its newest.
    step: Option<u64>,
    /// The same for the other run (default: `step`).
    with_step: Option<u64>,
    /// Only rows of these kinds, separated by commas: `fixed`, `broken`, `both_right`, `both_wrong`, `unjudged`.
    change: Option<String>,
    /// Rows per page, 1 to 200 (default 50).
    limit: Option<u32>,
    /// The `next` of the page before: the number of its last row.
    after: Option<u64>,
}

/// Compare two evaluations of the same rows: how many rows were fixed and broken, paired differences with 95% intervals
/// of accuracy, focus, late over early focus, attention to the image, dependence on it and reward, and the rows with
/// both answers. Runs of method `eval` and evaluations of training runs can be compared with each other.
#[utoipa::path(
    get, path = "/v1/runs/{id}/eval-rows/compare", tag = "runs", operation_id = "compare_evaluations",
    params(("id" = String, Path, description = "`run_…`"), PairParams),
    responses(
        (status = 200, description = "The comparison, with a page of rows", body = EvalComparison),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "A run has no rows of an evaluation, or the two have no rows in common",
            body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn compare_evaluations(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<PairParams>,
) -> Result<Response, Problem> {
    let changes = list("change", query.change.as_deref())?;
    let changes = changes.iter().map(|text| named("change", text, &Change::NAMES)).collect::<Result<_, _>>()?;
    let (limit, after) = rows_page(query.limit, query.after)?;
    let PairParams { with, step, with_step, .. } = query;
    let wanted = PairQuery { with, step, with_step, changes, limit, after };
    answer::large(state.service.runs().compare_evaluations(&id, wanted).await?).await
}
