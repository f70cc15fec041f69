//! Requests over HTTP, by method, route and status.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper ends of the buckets in seconds: from a health check to a long answer.
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];
/// Methods with their own label; others are counted together, because clients may send any.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// An answered request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HttpRequest<'a> {
    /// Its method.
    pub method: &'a str,
    /// The route that matched, e.g. `/v1/jobs/{id}`; none if there was no match.
    pub route: Option<&'a str>,
    /// The status of the answer.
    pub status: u16,
    /// Seconds until the answer began; a stream may take longer.
    pub seconds: f64,
}

/// Figures of requests.
#[derive(Debug, Clone)]
pub struct HttpFigures {
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
    in_flight: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

impl HttpFigures {
    /// Figures that `registry` shows.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let figures = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            in_flight: Gauge::default(),
        };
        registry.register("http_requests", "Answered requests", figures.requests.clone());
        registry.register("http_request_seconds", "Seconds until an answer began", figures.seconds.clone());
        registry.register("http_requests_in_flight", "Requests in flight", figures.in_flight.clone());
        figures
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts an answered request.
    pub fn answered(&self, request: &HttpRequest<'_>) {
        let method = METHODS.into_iter().find(|known| *known == request.method).unwrap_or("other");
        let route = request.route.unwrap_or("none").to_owned();
        self.seconds.get_or_create(&Route { method, route: route.clone() }).observe(request.seconds);
        self.requests.get_or_create(&Answered { method, route, status: request.status }).inc();
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
