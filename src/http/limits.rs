//! How much one key may ask for: requests a minute, and answers of the engine at the same time.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Method;
use axum::response::Response;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{self, Problem};
use crate::config::app::Limits;

/// Routes that keep the engine busy.
const ENGINE: [&str; 5] =
    ["/generate", "/v1/generate", "/v1/score", "/v1/chat/completions", "/v1/runs/{id}/samples/{sample}/maps"];

/// Counts what every key asks for. Who needs no key is not counted: it is this machine's own user.
pub struct KeyLimits {
    requests: Option<DefaultKeyedRateLimiter<String>>,
    per_minute: u32,
    answers: usize,
    running: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A permit among a key's answers of the engine; free again when it is dropped.
pub type Permit = Option<OwnedSemaphorePermit>;

impl KeyLimits {
    /// The limits among the settings.
    pub fn new(limits: &Limits) -> Self {
        let quota = NonZeroU32::new(limits.requests_per_minute).map(Quota::per_minute);
        Self {
            requests: quota.map(DefaultKeyedRateLimiter::keyed),
            per_minute: limits.requests_per_minute,
            answers: limits.concurrent_answers,
            running: Mutex::default(),
        }
    }

    /// Takes note of a request of `key`; a permit for it where the engine answers.
    ///
    /// # Errors
    /// 429 with the limit and the time until it makes sense to repeat the request.
    pub fn admit(&self, key: &str, method: &Method, route: &str) -> Result<Permit, Problem> {
        if let Some(requests) = &self.requests
            && let Err(early) = requests.check_key(&key.to_owned())
        {
            let wait = early.wait_time_from(DefaultClock::default().now());
            let detail = format!(
                "the key sends more than {} requests a minute, which is the limit (max_requests_per_minute)",
                self.per_minute
            );
            return Err(Problem::new(problem::RATE_LIMITED, detail).retry_after(wait.as_secs() as u32 + 1));
        }
        if self.answers == 0 || !ENGINE.contains(&route) || *method == Method::OPTIONS {
            return Ok(None);
        }
        let mut running = self.running.lock();
        let permits = running.entry(key.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.answers)));
        Arc::clone(permits).try_acquire_owned().map(Some).map_err(|_| {
            let detail = format!(
                "the key is already waiting for {} answers of the engine, which is the limit (max_concurrent_answers)",
                self.answers
            );
            Problem::new(problem::RATE_LIMITED, detail).retry_after(1)
        })
    }
}

/// Keeps the permit for as long as the answer is being read: a stream is busy to its end.
pub fn hold(response: Response, permit: Permit) -> Response {
    match permit {
        None => response,
        Some(permit) => response.map(|body| Body::new(Holding::new(body, permit))),
    }
}

/// An answer that is being sent, with the permit that it holds until its end.
pub(super) struct Holding<T> {
    body: Body,
    _held: T,
}

impl<T> Holding<T> {
    pub(super) fn new(body: Body, held: T) -> Self {
        Self { body, _held: held }
    }
}

impl<T: Unpin> HttpBody for Holding<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests_per_minute: u32, concurrent_answers: usize) -> KeyLimits {
        KeyLimits::new(&Limits { requests_per_minute, concurrent_answers, ..Limits::default() })
    }

    #[test]
    fn each_key_has_a_minute_of_its_own() {
        let limits = limits(3, 0);
        for _ in 0..3 {
            assert!(limits.admit("one", &Method::GET, "/v1/jobs").is_ok());
        }
        let refused = limits.admit("one", &Method::GET, "/v1/jobs").unwrap_err();
        assert_eq!((refused.code.status, refused.code.name), (429, "rate_limited"));
        // Three a minute: one more every twenty seconds.
        assert!((1..=21).contains(&refused.retry_after.unwrap()), "{refused:?}");
        assert!(refused.detail.contains("more than 3 requests a minute"), "{}", refused.detail);
        assert!(limits.admit("two", &Method::GET, "/v1/jobs").is_ok());
    }

    #[test]
    fn a_place_is_free_again_when_the_answer_is_over() {
        let limits = limits(0, 2);
        let ask = |key: &str| limits.admit(key, &Method::POST, "/v1/generate");
        let (first, second) = (ask("one").unwrap(), ask("one").unwrap());
        assert!(first.is_some() && ask("one").is_err());
        assert!(ask("two").is_ok(), "others have places of their own");
        assert!(limits.admit("one", &Method::GET, "/v1/jobs").unwrap().is_none(), "no place is needed to read");
        drop(hold(Response::new(Body::from("done")), first));
        assert!(ask("one").is_ok());
        drop(second);
    }
}
