//! Bodies of requests: how large one may be by route, how long it may take, and how many bytes of all together are
//! held.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::header;
use http_body_util::BodyExt as _;

use super::budget::Share;
use super::problem::{self, Problem};
use super::state::AppState;
use crate::config::app::Limits;

const KIB: usize = 1 << 10;
/// Bytes of a body that no route asks more for: names, reasons, a number.
const SMALL: usize = 16 * KIB;
/// Time for a body of up to a megabyte; a larger one has as long as a request.
const PATIENCE: Duration = Duration::from_secs(15);

/// A body that is refused is read on to its end within these limits, and thrown away: many clients send all of it
/// before they read the answer, and learn of a reset connection instead.
const DRAIN_FOR: Duration = Duration::from_secs(5);
const DRAINED_WITH_A_KEY: usize = 64 << 20;
const DRAINED_WITHOUT: usize = 64 * KIB;

/// Bytes of a body by route. The one route that needs no key takes a key and no more.
fn most(route: &str, limits: &Limits) -> usize {
    let bytes = match route {
        "/v1/session" => 4 * KIB,
        "/generate" | "/v1/generate" | "/v1/score" | "/v1/chat/completions" | "/v1/rewards/evaluate" => {
            limits.body_bytes
        }
        // Two texts of 100,000 characters, prompt template and system prompt, in any language.
        "/v1/jobs" | "/v1/audits" => 1024 * KIB,
        // A sweep, of which up to 256 jobs are made; the labels of a job.
        "/v1/sweeps" | "/v1/jobs/{id}" => 256 * KIB,
        // Notes of a run; labels.
        "/v1/runs/{id}" => 512 * KIB,
        "/v1/datasets" | "/v1/models" => 64 * KIB,
        _ => SMALL,
    };
    bytes.min(limits.body_bytes)
}

/// Reads a request's body whole, within the limits. Its bytes count until the request's [`Share`] goes.
pub async fn read(request: Request, state: &AppState) -> Result<Bytes, Problem> {
    let limits = &state.service.settings().limits;
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let most = most(route, limits);
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if let Some(bytes) = announced.filter(|bytes| *bytes > most) {
        drain(request.into_body(), most).await;
        return Err(too_large(format!("the body has {bytes} bytes; the limit of this route is {most}")));
    }
    let patience = if most <= 1024 * KIB { PATIENCE } else { Duration::from_secs(limits.request_timeout_seconds) };
    let share = request.extensions().get::<Share>().cloned().unwrap_or_default();
    let whole = collect(request, most, |bytes| state.bodies().take(&share, bytes));
    tokio::time::timeout(patience, whole).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} seconds", patience.as_secs());
        Err(Problem::new(problem::SLOW_BODY, detail))
    })
}

async fn collect(request: Request, most: usize, take: impl Fn(usize) -> Result<(), Problem>) -> Result<Bytes, Problem> {
    let mut body = request.into_body();
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let broken =
            |error: axum::Error| Problem::new(problem::BAD_REQUEST, format!("the body was interrupted: {error}"));
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if whole.len() + data.len() > most {
            drop(whole);
            drain(body, most).await;
            return Err(too_large(format!("the body has more than {most} bytes, which is the limit of this route")));
        }
        if let Err(full) = take(data.len()) {
            drop(whole);
            drain(body, most).await;
            return Err(full);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

/// Reads what is left of a body and keeps nothing. Only the address that takes less than all others needs no key.
async fn drain(mut body: Body, most: usize) {
    let mut left = if most < SMALL { DRAINED_WITHOUT } else { DRAINED_WITH_A_KEY };
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(bytes) else { return };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(DRAIN_FOR, reading).await;
}

fn too_large(detail: String) -> Problem {
    Problem::new(problem::BODY_TOO_LARGE, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_key_sends_little() {
        let limits = Limits::default();
        assert_eq!(most("/v1/session", &limits), 4096);
        assert_eq!(most("/v1/anything", &limits), SMALL, "a new route takes little until it is given more");
        assert_eq!(most("/v1/generate", &limits), limits.body_bytes);
        let small = Limits { body_bytes: 2000, ..limits };
        assert_eq!(most("/v1/jobs", &small), 2000);
    }
}
