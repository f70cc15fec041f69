//! `/v1/keys`

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::{PageQuery, QueryParams, RawJson};
use super::idempotency::{self, Begun};
use super::problem::{Problem, ProblemBody};
use crate::domain::access::ApiKey;
use crate::domain::page::Listing;
use crate::service::access::keys::{CreatedKey, KeyRequest};

const ROUTE: &str = "POST /v1/keys";

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create_key, list_keys)).routes(routes!(revoke_key))
}

/// Create a key. Its secret is only in this answer: the server stores a hash of it.
#[utoipa::path(
    post, path = "/v1/keys", tag = "access", operation_id = "create_key",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Creates only one key within 24 hours; a repeat gets the key without its secret, with \
                      `Idempotent-Replayed: true`")),
    request_body = KeyRequest,
    responses(
        (status = 201, description = "The key with its secret", body = CreatedKey),
        (status = "4XX", description = "A problem; `errors` names each bad field", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn create_key(
    state: AppState,
    headers: HeaderMap,
    RawJson { bytes, value: request }: RawJson<KeyRequest>,
) -> Result<Response, Problem> {
    let begun = match idempotency::begin(&state.service, &headers, ROUTE, &bytes).await? {
        Begun::Replayed(response) => return Ok(response),
        Begun::Made(begun, id) => {
            // Its secret was lost with the answer that was not delivered.
            let key = state.service.access().key(&id).await.map_err(Problem::from);
            let told = key.map(|key| (StatusCode::CREATED, CreatedKey { key, secret: None }));
            return idempotency::replayed(idempotency::finish(&state.service, Some(begun), told).await);
        }
        Begun::New(begun) => begun,
    };
    let created = state.service.access().create_key(&request).await.map_err(Problem::from);
    // What is kept for a repeat must not hold the secret.
    let kept = created.clone().map(|created| (StatusCode::CREATED, CreatedKey { secret: None, ..created }));
    idempotency::finish(&state.service, begun, kept).await?;
    Ok((StatusCode::CREATED, axum::Json(created?)).into_response())
}

/// List keys, newest first, including revoked ones, without secrets.
#[utoipa::path(
    get, path = "/v1/keys", tag = "access", operation_id = "list_keys", params(PageQuery),
    responses((status = 200, description = "A page of keys", body = Listing<ApiKey>))
)]
async fn list_keys(
    state: AppState,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<axum::Json<Listing<ApiKey>>, Problem> {
    Ok(axum::Json(state.service.access().keys(&query.page_of("key")?).await?))
}

/// Revoke a key, with its sessions and streams. The entry is kept. Idempotent.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "access", operation_id = "revoke_key",
    params(("id" = String, Path, description = "`key_…`")),
    responses(
        (status = 200, description = "The key, revoked", body = ApiKey),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn revoke_key(state: AppState, Path(id): Path<String>) -> Result<axum::Json<ApiKey>, Problem> {
    Ok(axum::Json(state.service.access().revoke_key(&id).await?))
}
