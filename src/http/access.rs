//! Access to the API: who the caller is, what their role allows, and which view of the database handlers get.
//!
//! New routes are covered as well: everything but the few addresses in [`needed`] needs a key, every request that
//! writes needs a user's key, and handlers get a service that sees the caller's project only. A handler that forgets to
//! take it from the request gets one that sees nothing.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::budget::Share;
use super::limits::hold;
use super::problem::{self, Problem};
use super::sse;
use super::state::AppState;
use crate::domain::access::{Caller, Role};
use crate::service::access::tickets::is_csrf;

/// The cookie of a session.
pub const COOKIE: &str = "vgpo_session";
/// The header that proves that a page of ours sends a request.
pub const CSRF: &str = "x-csrf-token";
const STREAM_TOKEN: &str = "stream_token";
/// Addresses that a stream token opens.
const STREAMS: [&str; 6] = [
    "/v1/events",
    "/v1/jobs/{id}/events",
    "/v1/jobs/{id}/events/stream",
    "/v1/jobs/{id}/logs",
    "/v1/jobs/{id}/logs/stream",
    "/v1/runs/{id}/metrics/stream",
];

/// The role that a request needs; none where no key is needed.
pub fn needed(method: &Method, path: &str) -> Option<Role> {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match path {
        "/" | "/favicon.ico" | "/openapi.json" | "/docs" | "/healthz" | "/readyz" | "/problems" if reads => None,
        page if reads && (page.starts_with("/ui/") || page.starts_with("/problems/")) => None,
        "/v1/session" if *method == Method::POST => None,
        "/v1/session" | "/v1/stream-tokens" => Some(Role::Viewer),
        // Figures contain the runs of every project; engines their models, and addresses inside the network.
        "/v1/audit" | "/metrics" | "/v1/engines" => Some(Role::Admin),
        // They name folders of the machine, and add names that every caller may ask.
        path if path.ends_with("load_lora_adapter") => Some(Role::Admin),
        path if path.starts_with("/v1/keys") => Some(Role::Admin),
        _ if reads => Some(Role::Viewer),
        _ => Some(Role::User),
    }
}

/// Authenticates a request, or says why it is rejected.
pub async fn admit(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| request.uri().path().to_owned());
    // Until the request is answered: what its body holds of the budget goes with it.
    let share = Share::default();
    request.extensions_mut().insert(share.clone());
    let Some(needed) = needed(request.method(), &route) else { return next.run(request).await };
    let token = take_stream_token(&mut request);
    let caller = match find(&state, request.method(), request.headers(), &route, token.as_deref()).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    if caller.role < needed {
        let own =
            if caller.role == Role::Viewer { "read-only (viewer)".to_owned() } else { format!("a {}'s", caller.role) };
        let detail = format!("the key is {own}; this needs the role {needed}");
        return Problem::new(problem::FORBIDDEN, detail).into_response();
    }
    let place = match caller.key_id.as_deref().map(|key| state.limits.admit(key, request.method(), &route)).transpose()
    {
        Ok(place) => place.flatten(),
        Err(problem) => return problem.into_response(),
    };
    let key = caller.key_id.clone();
    request.extensions_mut().insert(state.root.for_caller(caller));
    let response = hold(next.run(request).await, place);
    state.streams.watch(key.as_deref(), response).unwrap_or_else(IntoResponse::into_response)
}

async fn find(
    state: &AppState,
    method: &Method,
    headers: &HeaderMap,
    route: &str,
    token: Option<&str>,
) -> Result<Caller, Problem> {
    if !state.root.access().asks_for_keys().await? {
        return Ok(Caller::anonymous());
    }
    if let Some(sent) = headers.get(header::AUTHORIZATION) {
        let bearer =
            sent.to_str().ok().and_then(bearer).ok_or_else(|| refused("send `Authorization: Bearer vgpo_…`"))?;
        return Ok(state.root.access().authenticate(bearer).await?);
    }
    if let Some(token) = token.filter(|_| *method == Method::GET && streams(route, headers)) {
        return Ok(state.root.access().take_stream_token(token).await?);
    }
    let Some(cookie) = session_cookie(headers) else {
        return Err(refused(
            "send an API key as `Authorization: Bearer vgpo_…`; an admin creates one with `vgpo keys create`",
        ));
    };
    let caller = state.root.access().session(cookie).await?;
    let safe = matches!(*method, Method::GET | Method::HEAD);
    let proof = headers.get(CSRF).and_then(|sent| sent.to_str().ok()).unwrap_or_default();
    if !safe && !is_csrf(proof, cookie) {
        let detail =
            "a request with a session cookie that changes something needs the session's `csrf` as `X-CSRF-Token`";
        return Err(Problem::new(problem::CSRF, detail));
    }
    Ok(caller)
}

/// Will the answer be a live stream? A stream token opens nothing else, such as pages of past events.
fn streams(route: &str, headers: &HeaderMap) -> bool {
    let wanted = sse::wants_stream(headers);
    let live = match route {
        "/v1/events" => wanted || !sse::accepts(headers, "application/json"),
        route => wanted || route.ends_with("/stream"),
    };
    live && STREAMS.contains(&route)
}

fn refused(detail: &str) -> Problem {
    Problem::new(problem::UNAUTHORIZED, detail)
}

/// The key after `Bearer`.
pub fn bearer(sent: &str) -> Option<&str> {
    let (scheme, key) = sent.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The secret in the session's cookie.
pub fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = sent.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Takes the stream token out of the address: handlers know no such parameter, and no log shall know its value.
fn take_stream_token(request: &mut Request) -> Option<String> {
    let query = request.uri().query()?;
    let named = |pair: &&str| pair.split('=').next() == Some(STREAM_TOKEN);
    let token = query.split('&').find(named)?.split_once('=').map(|(_, token)| token.to_owned())?;
    let rest = query.split('&').filter(|pair| !named(pair)).collect::<Vec<_>>().join("&");
    let path = request.uri().path();
    let address = if rest.is_empty() { path.to_owned() } else { format!("{path}?{rest}") };
    if let Ok(uri) = address.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_thought_of_needs_a_key() {
        assert_eq!(needed(&Method::GET, "/v1/anything"), Some(Role::Viewer));
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(needed(&method, "/v1/anything"), Some(Role::User));
            assert_eq!(needed(&method, "/healthz"), Some(Role::User), "open for reading only");
        }
        assert_eq!(needed(&Method::DELETE, "/v1/keys/{id}"), Some(Role::Admin));
        assert_eq!(needed(&Method::GET, "/v1/audit"), Some(Role::Admin));
        assert_eq!(needed(&Method::GET, "/metrics"), Some(Role::Admin));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let headers: HeaderMap =
            [(header::COOKIE, "a=1; vgpo_session=abc; b=2".parse().unwrap())].into_iter().collect();
        assert_eq!(session_cookie(&headers), Some("abc"));
        assert_eq!(session_cookie(&HeaderMap::new()), None);
    }

    #[test]
    fn a_stream_token_leaves_the_address() {
        let mut request = Request::new(axum::body::Body::empty());
        *request.uri_mut() = "/v1/events?types=job&stream_token=abc&after=3".parse().unwrap();
        assert_eq!(take_stream_token(&mut request).as_deref(), Some("abc"));
        assert_eq!(request.uri().to_string(), "/v1/events?types=job&after=3");
        assert_eq!(take_stream_token(&mut request), None);
    }

    #[test]
    fn only_a_bearer_is_a_bearer() {
        assert_eq!(bearer("Bearer vgpo_x"), Some("vgpo_x"));
        assert_eq!(bearer("bearer  vgpo_x "), Some("vgpo_x"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("vgpo_x"), None);
    }
}
