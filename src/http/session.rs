//! `/v1/session` and `/v1/stream-tokens`: what a key is exchanged for.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::AppendHeaders;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::access::{COOKIE, session_cookie};
use super::extract::Json;
use super::problem::{Problem, ProblemBody};
use crate::service::ServiceError;
use crate::service::access::Identity;
use crate::service::access::tickets::{SESSION, StreamToken};

type WithCookie<T> = (AppendHeaders<[(HeaderName, HeaderValue); 1]>, T);

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(open_session, get_session, close_session)).routes(routes!(create_stream_token))
}

/// A key to exchange for a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// The whole secret, `vgpo_…`.
    key: String,
}

/// Exchange a key for a browser session of twelve hours.
///
/// The session is in a cookie that scripts cannot read and other sites cannot send. Requests that change something must
/// also send the answer's `csrf` as `X-CSRF-Token`.
#[utoipa::path(
    post, path = "/v1/session", tag = "access", operation_id = "open_session", request_body = SignIn,
    responses(
        (status = 200, description = "The owner of the key; `Set-Cookie` contains the session", body = Identity),
        (status = 401, description = "The key is unknown or revoked", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn open_session(
    state: AppState,
    headers: HeaderMap,
    Json(sign_in): Json<SignIn>,
) -> Result<WithCookie<axum::Json<Identity>>, Problem> {
    let opened = state.root().access().open_session(&sign_in.key).await?;
    let cookie = cookie(opened.secret.reveal(), SESSION.num_seconds(), &headers)?;
    Ok((cookie, axum::Json(opened.identity)))
}

/// The caller.
#[utoipa::path(
    get, path = "/v1/session", tag = "access", operation_id = "get_session",
    responses((status = 200, description = "Key, role and project; `csrf` in a session", body = Identity))
)]
async fn get_session(state: AppState, headers: HeaderMap) -> axum::Json<Identity> {
    let session = session_cookie(&headers).filter(|_| !headers.contains_key(header::AUTHORIZATION));
    axum::Json(state.service.access().identity(session))
}

/// End the browser's session. Idempotent.
#[utoipa::path(
    delete, path = "/v1/session", tag = "access", operation_id = "close_session",
    responses((status = 204, description = "The session has ended and the cookie was deleted"))
)]
async fn close_session(state: AppState, headers: HeaderMap) -> Result<WithCookie<StatusCode>, Problem> {
    if let Some(session) = session_cookie(&headers) {
        state.root().access().close_session(session).await?;
    }
    Ok((cookie("", 0, &headers)?, StatusCode::NO_CONTENT))
}

/// Create a token that opens one live stream within a minute, as `?stream_token=`, for clients that cannot set headers
/// (`EventSource` of a page on another origin).
///
/// It cannot be used twice: request a new one to reconnect, and continue after the last event with `?after=`.
#[utoipa::path(
    post, path = "/v1/stream-tokens", tag = "access", operation_id = "create_stream_token",
    responses((status = 201, description = "The token", body = StreamToken))
)]
async fn create_stream_token(state: AppState) -> Result<(StatusCode, axum::Json<StreamToken>), Problem> {
    Ok((StatusCode::CREATED, axum::Json(state.service.access().stream_token().await?)))
}

/// The cookie; with TLS it is only sent over TLS.
fn cookie(
    session: &str,
    seconds: i64,
    headers: &HeaderMap,
) -> Result<AppendHeaders<[(HeaderName, HeaderValue); 1]>, Problem> {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    let secure = if origin.starts_with("https://") { "; Secure" } else { "" };
    let text = format!("{COOKIE}={session}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let value = HeaderValue::from_str(&text).map_err(|error| ServiceError::Internal(error.to_string()))?;
    Ok(AppendHeaders([(header::SET_COOKIE, value)]))
}
