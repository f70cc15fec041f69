//! The asynchronous client: HTTP/1.1 with TLS (the roots that browsers trust, or a private CA), connections kept for
//! the next request.
//!
//! It follows no redirect and uses no proxy of the environment: either could show a key or a secret to another host.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;

/// Bytes of a request, of one piece or as they are read.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// Connections that are kept and shared by requests with bodies `B`.
pub type Connections<B> = Pool<HttpsConnector<HttpConnector>, B>;

/// Bytes of an answer that is read as a whole.
const MAX_ANSWER: usize = 1 << 30;

/// Why there is no answer, or no more of it: the text of the innermost cause.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{problem}")]
pub struct OutboundError {
    problem: String,
    distrusts: bool,
}

impl OutboundError {
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let problem = cause.to_string();
        // I/O errors hide what they wrap from `source`.
        while let Some(wrapped) = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            cause = wrapped;
        }
        let tls = cause.downcast_ref::<rustls::Error>();
        Self { problem, distrusts: matches!(tls, Some(rustls::Error::InvalidCertificate(_))) }
    }

    /// Was the certificate of the other side refused?
    pub fn distrusts(&self) -> bool {
        self.distrusts
    }
}

/// A file of CA certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{file}` cannot be used: {problem}; it must be a PEM file with one or more CA certificates")]
pub struct CaFileError {
    file: String,
    problem: String,
}

/// New connections, each to be opened within `patience`.
pub fn connections<B>(patience: Duration) -> Connections<B>
where
    B: HttpBody + Send,
    B::Data: Send,
{
    pool(patience, HttpsConnectorBuilder::new().with_webpki_roots())
}

fn pool<B>(patience: Duration, trust: HttpsConnectorBuilder<WantsSchemes>) -> Connections<B>
where
    B: HttpBody + Send,
    B::Data: Send,
{
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    plain.set_connect_timeout(Some(patience));
    plain.set_nodelay(true);
    let secure = trust.https_or_http().enable_http1();
    Pool::builder(TokioExecutor::new()).build(secure.wrap_connector(plain))
}

/// TLS that trusts the CA certificates of a PEM file, and no others.
fn trust(file: &Path) -> Result<ClientConfig, CaFileError> {
    let failed = |problem: String| CaFileError { file: file.display().to_string(), problem };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| failed(error.to_string()))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
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

    /// The same, which trusts the CA certificates in `ca_file` instead of the public ones.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn with_ca_file(patience: Duration, ca_file: &Path) -> Result<Self, CaFileError> {
        Ok(Self(pool(patience, HttpsConnectorBuilder::new().with_tls_config(trust(ca_file)?))))
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
            // Trailers are not used.
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
        serde_json::from_slice(&self.bytes().await?).map_err(|error| OutboundError::of(&error))
    }
}
