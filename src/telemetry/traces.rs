//! Traces for OpenTelemetry: spans of this process, sent over OTLP (HTTP, JSON) to a collector.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::outbound;

const SERVICE: &str = "vgpo";
/// Timeout of an export: a collector that hangs must not delay the end of the program.
const PATIENCE: Duration = Duration::from_secs(5);

/// Exports spans until it is dropped; the drop exports the last ones.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Exports spans to the collector at `endpoint`, e.g. `http://127.0.0.1:4318`.
    ///
    /// # Errors
    /// An endpoint that cannot be used.
    pub fn to(endpoint: &str) -> Result<Self, String> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(SpanExporterClient::new())
            .with_protocol(Protocol::HttpJson)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .map_err(|error| format!("traces cannot be sent to {endpoint}: {error}"))?;
        let resource = Resource::builder().with_service_name(SERVICE).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self { provider })
    }

    /// The layer that turns spans of this process into traces.
    pub fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(&self) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer(SERVICE))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!(%error, "the last spans were not exported");
        }
    }
}

/// Makes `span` part of the trace in the headers of a request (`traceparent`, W3C Trace Context), if there is one.
pub fn adopt<B>(span: &Span, request: &Request<B>) {
    let context = TraceContextPropagator::new().extract(&HeaderExtractor(request.headers()));
    // Fails if no traces are exported, which is fine.
    let _ = span.set_parent(context);
}

/// Headers that make another server's spans part of the current trace; none if no traces are exported.
pub fn carried() -> HashMap<String, String> {
    let mut headers = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut headers);
    headers
}

/// The HTTP client of the span exporter; it runs on the exporter's thread.
#[derive(Debug)]
struct SpanExporterClient(ureq::Agent);

impl SpanExporterClient {
    fn new() -> Self {
        Self(outbound::trusting(PATIENCE))
    }
}

#[async_trait]
impl HttpClient for SpanExporterClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(parts, body.to_vec()))?;
        let (parts, mut body) = answer.into_parts();
        Ok(Response::from_parts(parts, Bytes::from(body.read_to_vec()?)))
    }
}
