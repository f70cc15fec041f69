//! Monitoring: figures for Prometheus (counted here, or collected when they are scraped) and traces for OpenTelemetry.

mod http;
mod snapshot;
pub mod traces;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

pub use http::{HttpFigures, HttpRequest};
pub use snapshot::Snapshot;

/// Media type of the text that [`Telemetry::text`] writes.
pub const MEDIA_TYPE: &str = prometheus_text::CONTENT_TYPE;
/// Prefix of all metric names.
const PREFIX: &str = "vgpo";

/// The counters of this process.
pub struct Telemetry {
    registry: Registry,
    http: HttpFigures,
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let http = HttpFigures::register(&mut registry);
        Self { registry, http }
    }
}

impl Telemetry {
    /// Requests over HTTP.
    pub fn http(&self) -> &HttpFigures {
        &self.http
    }

    /// Everything as text, in the format of Prometheus (version 0.0.4).
    ///
    /// # Errors
    /// If a figure cannot be written.
    pub fn text(&self, snapshot: &Snapshot) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        prometheus_text::encode(&mut text, &snapshot.registry())?;
        Ok(text)
    }
}
