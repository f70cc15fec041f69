//! The asynchronous client: HTTP/1.1 with TLS (the roots that browsers trust), connections kept for the next request.
//!
//! It follows no redirect and uses no proxy of the environment: either could show a key or a secret to another host.

use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

/// Bytes of a request, of one piece or as they are read.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// Connections that are kept and shared by requests with bodies `B`.
pub type Connections<B> = Pool<HttpsConnector<HttpConnector>, B>;

/// Bytes of an answer that is read as a whole.
const MAX_ANSWER: usize = 1 << 30;

/// Why there is no answer, or no more of it: the innermost cause, which is what tells.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct OutboundError(String);

impl OutboundError {
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self(cause.to_string())
    }
}

/// New connections, each to be opened within `patience`.
pub fn connections<B>(patience: Duration) -> Connections<B>
where
    B: HttpBody + Send,
    B::Data: Send,
{
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    plain.set_connect_timeout(Some(patience));
    plain.set_nodelay(true);
    let secure = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1();
    Pool::builder(TokioExecutor::new()).build(secure.wrap_connector(plain))
}

/// No bytes.
pub fn empty() -> Body {
    whole(Bytes::new())
}

/// Bytes of one piece.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Bytes that are read while they are sent.
pub fn streamed(bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(bytes.map_ok(Frame::data)).boxed_unsync()
}

/// Sends requests; clones share its connections.
#[derive(Debug, Clone)]
pub struct Client(Connections<Body>);

impl Client {
    /// A client whose connections are opened within `patience`.
    pub fn new(patience: Duration) -> Self {
        Self(connections(patience))
    }

    /// Sends a request and returns once the head of the answer is there.
    ///
    /// # Errors
    /// When the other side is not reached or does not speak HTTP.
    pub async fn send(&self, request: Request<Body>) -> Result<Response, OutboundError> {
        let answer = self.0.request(request).await.map_err(|error| OutboundError::of(&error))?;
        let (head, body) = answer.into_parts();
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

/// An answer as it comes. Dropping it closes its connection.
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
}

impl Response {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// One of its headers, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The bytes that come next; none at its end.
    ///
    /// # Errors
    /// When the connection broke off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, OutboundError> {
        while let Some(frame) = self.body.frame().await {
            // Trailers are of no use to anybody here.
            if let Ok(bytes) = frame.map_err(|error| OutboundError::of(&error))?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// All of its bytes as they come.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes, OutboundError>> {
        self.body.into_data_stream().map_err(|error| OutboundError::of(&error))
    }

    /// All of its bytes, up to a limit of 1 GiB.
    ///
    /// # Errors
    /// When the connection broke off, or there are more.
    pub async fn bytes(self) -> Result<Bytes, OutboundError> {
        let whole = Limited::new(self.body, MAX_ANSWER).collect().await;
        whole.map(http_body_util::Collected::to_bytes).map_err(|error| OutboundError::of(error.as_ref()))
    }

    /// All of it as JSON.
    ///
    /// # Errors
    /// When it broke off or is not the JSON that is expected.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, OutboundError> {
        serde_json::from_slice(&self.bytes().await?).map_err(|error| OutboundError(error.to_string()))
    }
}
