//! Live streams as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

use super::extract::query_fault;
use super::problem::Problem;
use crate::service::Service;
use crate::service::jobs::events::{Follow, Frame, StartAt};

const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Does the client ask for a stream?
pub fn wants_stream(headers: &HeaderMap) -> bool {
    accepts(headers, "text/event-stream")
}

/// Does the client's Accept header name this type?
pub fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains(kind)))
}

/// Where a stream begins: after `Last-Event-ID`, else after `?after=`, else at `otherwise`.
pub fn start(headers: &HeaderMap, after: Option<&str>, otherwise: StartAt) -> Result<StartAt, Problem> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let Some(id) = last.or(after) else { return Ok(otherwise) };
    let fault = || query_fault("after", "must be an event's `id`, a whole number of at least 0");
    id.trim().parse().ok().filter(|id| *id >= 0).map(StartAt::After).ok_or_else(fault)
}

/// The stream as a response.
pub async fn stream(service: &Service, follow: Follow) -> Result<Response, Problem> {
    let frames = service.jobs().follow(follow).await?;
    Ok(respond(frames.map(event)))
}

/// Events as a response that no proxy holds back.
pub fn respond(events: impl Stream<Item = SseEvent> + Send + 'static) -> Response {
    let events = events.map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(BUFFERING, HeaderValue::from_static("no"));
    response
}

fn event(frame: Frame) -> SseEvent {
    match frame {
        Frame::Event(event) => {
            let data = serde_json::to_value(&event).unwrap_or(Value::Null);
            SseEvent::default().id(event.seq.to_string()).event(one_line(&event.kind)).data(data.to_string())
        }
        Frame::Reset { after } => {
            SseEvent::default().id(after.to_string()).event("reset").data(json!(ResetFrame { after }).to_string())
        }
        Frame::End { state, seq } => {
            SseEvent::default().id(seq.to_string()).event("end").data(json!(EndFrame { state }).to_string())
        }
        Frame::Failed(error) => {
            let problem = Problem::from(error);
            SseEvent::default().event("error").data(problem.body("").to_string())
        }
    }
}

/// A name that cannot break a frame.
fn one_line(name: &str) -> String {
    name.replace(['\r', '\n'], " ")
}

/// Data of a stream's `reset`: events after the requested position are no longer available; read the lists again.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct ResetFrame {
    /// The position from which the stream continues.
    pub after: i64,
}

/// Data of a stream's `end`: the job has ended and all events were sent.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct EndFrame {
    /// The job's last state.
    pub state: crate::domain::job::JobState,
}
