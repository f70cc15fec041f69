//! `/v1/events` and the feeds of jobs.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{QueryParams, list, page, page_from};
use super::problem::{Problem, ProblemBody};
use super::{AppState, sse};
use crate::domain::event::EventFilter;
use crate::service::jobs::events::{Follow, StartAt};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(all_events))
}

/// Which events of one job or run.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Only events of these types, separated by commas; `warning.*` matches every type with this prefix.
    types: Option<String>,
    /// Only events after this sequence number (a stream's `Last-Event-ID` header takes precedence).
    after: Option<String>,
    /// Entries per page, 1 to 1000 (default 50); ignored by streams.
    limit: Option<u32>,
}

/// The events of one job as a page or a stream.
pub async fn job_feed(
    state: &AppState,
    id: &str,
    query: &StreamQuery,
    headers: &HeaderMap,
    live: bool,
) -> Result<Response, Problem> {
    state.service.jobs().get(id).await?;
    let filter = EventFilter {
        jobs: vec![id.to_owned()],
        kinds: list("types", query.types.as_deref())?,
        ..EventFilter::default()
    };
    if !live {
        let page = page_from(query.limit, query.after.clone())?;
        let events = state.service.jobs().events(&filter, &page).await?;
        return Ok(axum::Json(events).into_response());
    }
    page(query.limit, None)?;
    let from = sse::start(headers, query.after.as_deref(), StartAt::Start)?;
    sse::stream(&state.service, Follow { filter, from, until: Some(id.to_owned()) }).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AllQuery {
    /// Only events about these runs, separated by commas.
    runs: Option<String>,
    /// Only events about these jobs, separated by commas (events of any named run or job match).
    jobs: Option<String>,
    /// Only events of these types, separated by commas; `warning.*` matches every type with this prefix.
    types: Option<String>,
    /// Begin after this sequence number instead of now (0: with the oldest; a `Last-Event-ID` header takes precedence).
    after: Option<String>,
    /// Entries per page, 1 to 1000 (default 50), for pages (`Accept: application/json`).
    limit: Option<u32>,
}

/// One live stream for everything: jobs, metrics, samples, checkpoints, workers.
#[utoipa::path(
    get, path = "/v1/events", tag = "live", operation_id = "events", params(AllQuery),
    responses(
        (status = 200,
            description = "Server-sent events: `id` is the event's sequence number, `event` its kind, `data` an Event; \
                          a comment every 15 s. With `Accept: application/json` a page of past events", content(
            (String = "text/event-stream"),
            (crate::domain::page::Listing<crate::domain::event::Event> = "application/json"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn all_events(
    state: AppState,
    QueryParams(query): QueryParams<AllQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let filter = EventFilter {
        jobs: list("jobs", query.jobs.as_deref())?,
        runs: list("runs", query.runs.as_deref())?,
        kinds: list("types", query.types.as_deref())?,
        ..EventFilter::default()
    };
    if sse::accepts(&headers, "application/json") && !sse::wants_stream(&headers) {
        let page = page_from(query.limit, query.after)?;
        let events = state.service.jobs().events(&filter, &page).await?;
        return Ok(axum::Json(events).into_response());
    }
    page(query.limit, None)?;
    let from = sse::start(&headers, query.after.as_deref(), StartAt::Now)?;
    sse::stream(&state.service, Follow { filter, from, until: None }).await
}
