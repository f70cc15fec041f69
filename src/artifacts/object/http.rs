//! How the object store's client reaches its server: HTTP/1.1, with TLS by the same library as the database and the
//! hub.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Error as ClientError;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};

use crate::outbound::{Connections, connections};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may take to read a part of a file and to answer.
const ANSWER: Duration = Duration::from_mins(2);

/// Makes clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connector;

#[derive(Debug)]
struct Service(Connections<HttpRequestBody>);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(connections(CONNECT))))
    }
}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(ANSWER, self.0.request(request)).await;
        let answer = answer.map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?;
        let (head, body) = answer.map_err(unanswered)?.into_parts();
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

fn unanswered(error: ClientError) -> HttpError {
    // Without an answer nothing is known; the client repeats what may be repeated.
    let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
    HttpError::new(kind, error)
}
