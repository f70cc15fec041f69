//! Live streams of every key: how many at the same time, and no longer than the key is good for.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::problem::{self, Problem};
use crate::service::Service;

/// Pause between two looks at a key that has streams.
const LOOK: Duration = Duration::from_secs(2);

/// The live streams. Who needs no key counts as one more key.
#[derive(Clone)]
pub struct Streams {
    service: Service,
    most: usize,
    keys: Arc<Mutex<HashMap<Option<String>, Opened>>>,
}

/// The streams of one key.
#[derive(Clone)]
struct Opened {
    places: Arc<Semaphore>,
    /// The key opens nothing any more.
    over: CancellationToken,
}

impl Streams {
    /// No streams yet, over a service that sees every key.
    pub fn new(service: Service) -> Self {
        let most = service.settings().limits.streams.min(Semaphore::MAX_PERMITS);
        Self { service, most, keys: Arc::default() }
    }

    /// A response, which ends when its key is revoked, if it is a stream.
    ///
    /// # Errors
    /// 429 where the key has as many streams as it may.
    pub fn watch(&self, key: Option<&str>, response: Response) -> Result<Response, Problem> {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if self.most == 0 || !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Ok(response);
        }
        let (place, over) = self.open(key.map(ToOwned::to_owned))?;
        Ok(response.map(|body| Body::new(Watched { body, over: Box::pin(over.cancelled_owned()), _place: place })))
    }

    fn open(&self, key: Option<String>) -> Result<(OwnedSemaphorePermit, CancellationToken), Problem> {
        let mut keys = self.keys.lock();
        let opened = keys.entry(key.clone()).or_insert_with(|| {
            let opened = Opened { places: Arc::new(Semaphore::new(self.most)), over: CancellationToken::new() };
            tokio::spawn(self.clone().look_after(key, opened.clone()));
            opened
        });
        let place = Arc::clone(&opened.places).try_acquire_owned().map_err(|_| {
            let detail = format!("the key has {} live streams, which is the limit (max_streams)", self.most);
            Problem::new(problem::RATE_LIMITED, detail).retry_after(1)
        })?;
        Ok((place, opened.over.clone()))
    }

    /// Looks at the key now and then, for as long as it has streams.
    async fn look_after(self, key: Option<String>, opened: Opened) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.service.stopping().cancelled() => return,
            }
            // While the database is away, what was last known holds.
            let over = matches!(self.service.access().opens(key.as_deref()).await, Ok(false));
            let mut keys = self.keys.lock();
            if over || opened.places.available_permits() == self.most {
                keys.remove(&key);
                drop(keys);
                opened.over.cancel();
                return;
            }
        }
    }
}

/// A stream that ends with its key.
struct Watched {
    body: Body,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
