//! `/v1/jobs/{id}/logs`

use std::fmt::Write as _;

use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{QueryParams, query_fault};
use super::problem::{Problem, ProblemBody};
use super::sse::EndFrame;
use super::{AppState, sse};
use crate::domain::log::LogPage;
use crate::service::jobs::logs::{LogFrame, LogPart};

pub(super) const MAX_LINES: usize = 10_000;
const DEFAULT_LINES: usize = 200;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(logs)).routes(routes!(logs_stream))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LogQuery {
    /// Number of last lines, 1 to 10000 (default 200).
    tail: Option<usize>,
    /// Return the lines after this position instead of the last ones: the `next` of another part, or 0 for the
    /// beginning.
    after: Option<u64>,
    /// With `after`: maximum number of lines, 1 to 10000 (default 200).
    limit: Option<usize>,
}

impl LogQuery {
    fn part(&self) -> Result<LogPart, Problem> {
        let bounded = |name: &str, lines: Option<usize>| {
            let lines = lines.unwrap_or(DEFAULT_LINES);
            if (1..=MAX_LINES).contains(&lines) {
                return Ok(lines);
            }
            Err(query_fault(name, format!("`{name}` is {lines}; it must be from 1 to {MAX_LINES}")))
        };
        let limit = bounded("limit", self.limit)?;
        match (self.after, self.tail) {
            (Some(_), Some(_)) => Err(query_fault("tail", "`tail` and `after` cannot be combined")),
            (Some(position), None) => Ok(LogPart::After(position, limit)),
            (None, tail) => Ok(LogPart::Tail(bounded("tail", tail)?)),
        }
    }
}

/// The log of a job: lines as JSON, as plain text (`Accept: text/plain`), or as a live stream (`Accept:
/// text/event-stream`) that ends with `end`.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/logs", tag = "jobs", operation_id = "job_logs",
    params(("id" = String, Path, description = "`job_…`"), LogQuery),
    responses(
        (status = 200, description = "Lines, oldest first", content(
            (LogPage = "application/json"), (String = "text/plain"), (String = "text/event-stream"))),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn logs(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let part = query.part()?;
    if sse::wants_stream(&headers) {
        return stream(&state, &id, part, &headers).await;
    }
    let page = state.service.jobs().log(&id, part).await?;
    if sse::accepts(&headers, "text/plain") && !sse::accepts(&headers, "application/json") {
        let mut text = String::new();
        for line in &page.data {
            let _ = writeln!(text, "{line}");
        }
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response());
    }
    Ok(axum::Json(page).into_response())
}

/// Live stream of a job's log, whatever the Accept header: `log` events, then `end`.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/logs/stream", tag = "jobs", operation_id = "job_logs_stream",
    params(("id" = String, Path, description = "`job_…`"), LogQuery),
    responses(
        (status = 200, description = "Server-sent events; `id` is a position for `Last-Event-ID`", body = String,
            content_type = "text/event-stream"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn logs_stream(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    stream(&state, &id, query.part()?, &headers).await
}

async fn stream(state: &AppState, id: &str, part: LogPart, headers: &HeaderMap) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let part = last.map_or(part, |position| LogPart::After(position, MAX_LINES));
    let frames = state.service.jobs().follow_log(id, part).await?;
    Ok(sse::respond(frames.map(event)))
}

fn event(frame: LogFrame) -> SseEvent {
    match frame {
        LogFrame::Line(line, position) => {
            let event = SseEvent::default().event("log").data(json!(line).to_string());
            position.map_or(event.clone(), |position| event.id(position))
        }
        LogFrame::End(state) => SseEvent::default().event("end").data(json!(EndFrame { state }).to_string()),
        LogFrame::Failed(error) => SseEvent::default().event("error").data(Problem::from(error).body("").to_string()),
    }
}
