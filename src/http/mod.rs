//! The HTTP API: router, problems, limits; one file per resource, handlers of a few lines.
#![allow(unused_qualifications, reason = "utoipa's macros write whole paths")]

mod access;
mod adapters;
mod alerts;
mod answer;
mod audit;
mod audits;
mod bodies;
mod budget;
mod chat;
mod checkpoints;
mod connections;
mod cors;
mod dashboard;
mod datasets;
mod docs;
mod document;
mod engines;
mod eval_rows;
mod events;
pub mod examples;
mod extract;
mod figures;
mod finish;
mod forwarded;
mod generate;
mod guard;
mod health;
mod idempotency;
mod jobs;
mod keys;
mod limits;
mod logs;
mod maps;
mod metric_keys;
mod metrics;
mod models;
mod openai_error;
mod plain_names;
pub mod problem;
mod problems;
mod ranges;
mod report;
mod rewards;
mod runs;
mod score;
mod secured;
mod session;
mod sse;
mod state;
mod streams;
mod sweeps;
mod trackers;
mod unknown_query;
mod upload;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_axum::router::OpenApiRouter;

pub use connections::{Connections, serve};
use problem::Problem;
pub use state::AppState;

/// Bytes of an answer beyond which it is sent as it is.
const MAX_COMPRESSED: u64 = 256 << 10;
/// Downloads keep their length; weights hardly shrink.
const TAR: &str = "application/x-tar";

/// Every route with its description.
fn routes() -> OpenApiRouter<AppState> {
    resources().merge(figures::routes())
}

fn resources() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(document::frame())
        .merge(jobs::routes())
        .merge(logs::routes())
        .merge(runs::routes())
        .merge(maps::routes())
        .merge(eval_rows::routes())
        .merge(audits::routes())
        .merge(sweeps::routes())
        .merge(report::routes())
        .merge(metrics::routes())
        .merge(checkpoints::routes())
        .merge(models::routes())
        .merge(datasets::routes())
        .merge(events::routes())
        .merge(generate::routes())
        .merge(chat::routes())
        .merge(adapters::routes())
        .merge(alerts::routes())
        .merge(trackers::routes())
        .merge(score::routes())
        .merge(rewards::routes())
        .merge(workers::routes())
        .merge(engines::routes())
        .merge(keys::routes())
        .merge(session::routes())
        .merge(audit::routes())
        .merge(health::routes())
}

/// The `OpenAPI` document, generated from the code.
///
/// # Errors
/// When the document cannot be written as JSON.
pub fn openapi() -> Result<serde_json::Value, serde_json::Error> {
    let mut document = routes().into_openapi();
    secured::describe(&mut document);
    document::complete(&mut document);
    let mut document = serde_json::to_value(document)?;
    ranges::describe(&mut document);
    plain_names::write(&mut document);
    Ok(document)
}

/// The `OpenAPI` document as it is committed: pretty JSON with a line end.
///
/// # Errors
/// When the document cannot be written as JSON.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(&openapi()?)? + "\n")
}

/// The whole application: what the roles of this server need.
pub fn router(state: AppState) -> Router {
    let settings = state.root().settings();
    let guard = Arc::new(guard::Guard::new(settings));
    let finish = finish::Finish {
        limit: Duration::from_secs(settings.limits.request_timeout_seconds),
        telemetry: Arc::clone(state.service.telemetry()),
    };
    let body_bytes = settings.limits.body_bytes;
    let cors = cors::layer(&settings.allowed_origins);
    let forwarded = settings.serves_others().then(|| forwarded::routes(&state));
    // If figures have their own listener, they are not served here.
    let figures = if settings.metrics_listen.is_some() { OpenApiRouter::new() } else { figures::routes() };
    let routes = if settings.roles.api { resources() } else { health::routes() };
    let (router, document) = routes.merge(figures).split_for_parts();
    let without_query = unknown_query::WithoutQuery::of(&document);
    let pages = if settings.roles.api { pages() } else { Router::new() };
    router
        .merge(pages)
        .route("/problems", get(problems::index))
        .route("/problems/{code}", get(problems::page))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(state.clone())
        .layer(axum::middleware::from_fn_with_state(without_query, unknown_query::refuse))
        .layer(axum::middleware::from_fn_with_state(state, access::admit))
        .layer(DefaultBodyLimit::max(body_bytes))
        // With their own authentication.
        .merge(forwarded.unwrap_or_default())
        .layer(CompressionLayer::new().compress_when(compressed()))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors)
        .layer(axum::middleware::from_fn_with_state(guard, guard::guard))
        .layer(axum::middleware::from_fn_with_state(finish, finish::finish))
}

/// What is compressed: on the threads that answer everyone, so nothing that takes them long. Large answers are pictures
/// in base64 for the most part, which hardly shrink.
fn compressed() -> impl Predicate {
    DefaultPredicate::new().and(NotForContentType::const_new(TAR)).and(SizeBelow(MAX_COMPRESSED))
}

/// Answers of fewer bytes, and those that are written while they are sent.
#[derive(Clone, Copy)]
struct SizeBelow(u64);

impl Predicate for SizeBelow {
    fn should_compress<B: HttpBody>(&self, response: &axum::http::Response<B>) -> bool {
        response.body().size_hint().lower() <= self.0
    }
}

/// The API's document for programs and for people, and the dashboard.
fn pages() -> Router<AppState> {
    docs::routes().merge(dashboard::routes())
}

/// The figures for Prometheus alone, for a listener of their own.
pub fn metrics_router(state: AppState) -> Router {
    let (router, _) = figures::routes().split_for_parts();
    router.with_state(state)
}

async fn unknown_route(state: AppState, uri: Uri) -> Problem {
    let roles = state.root().settings().roles;
    let hint = if roles.api {
        "/openapi.json lists all routes".to_owned()
    } else {
        format!("this server has the roles {roles}; the API needs the role api")
    };
    Problem::new(problem::UNKNOWN_ROUTE, format!("there is no route `{}`; {hint}", uri.path()))
}

async fn method_not_allowed(method: axum::http::Method, uri: Uri) -> Problem {
    Problem::new(problem::METHOD_NOT_ALLOWED, format!("`{}` does not allow {method}; see the Allow header", uri.path()))
}

/// A panic is a fault of ours: the client learns the request's id, the log the rest.
#[allow(clippy::needless_pass_by_value)]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> axum::response::Response {
    let words = panic.downcast_ref::<String>().cloned();
    let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    tracing::error!(panic = words.unwrap_or_default(), "a handler panicked");
    Problem::new(problem::INTERNAL, "the server's log has the details under this request_id").into_response()
}
