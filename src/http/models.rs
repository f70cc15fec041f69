//! `/v1/models`: `OpenAI`'s format, with additional fields.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::RawJson;
use super::problem::{Problem, ProblemBody};
use super::{AppState, idempotency};
use crate::domain::model::ModelState;
use crate::service::Service;
use crate::service::models::{ModelEntry, ModelList, ModelRequest};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_models, create_model)).routes(routes!(get_model, delete_model))
}

/// List registered models, including those that are being downloaded.
#[utoipa::path(
    get, path = "/v1/models", tag = "models", operation_id = "list_models",
    responses((status = 200, description = "All models, in OpenAI's format", body = ModelList))
)]
async fn list_models(state: AppState) -> Result<axum::Json<ModelList>, Problem> {
    Ok(axum::Json(state.service.models().list().await?))
}

/// Register a model: a folder of the server's machine, or a repository of the hub.
///
/// A folder is read immediately. For a hub, the answer is sent once the revision was resolved to a commit; the files
/// are downloaded in the background: the model is `downloading`, then `ready` or `failed`, and every change is an event
/// `model`.
#[utoipa::path(
    post, path = "/v1/models", tag = "models", operation_id = "create_model",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Executes the request only once within 24 hours; a repeat gets the first answer with \
                      `Idempotent-Replayed: true`")),
    request_body = ModelRequest,
    responses(
        (status = 201, description = "The model, `ready`", body = ModelEntry),
        (status = 202, description = "The model, `downloading`", body = ModelEntry),
        (status = 503, description = "The hub does not answer", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = "4XX", description = "A problem; `errors` names each bad field", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn create_model(
    state: AppState,
    headers: HeaderMap,
    RawJson { bytes, value: request }: RawJson<ModelRequest>,
) -> Result<Response, Problem> {
    let service = state.service.clone();
    let work = async move {
        let entry = service.models().register(request, None).await?;
        let status = if entry.state == ModelState::Ready { StatusCode::CREATED } else { StatusCode::ACCEPTED };
        Ok((status, entry))
    };
    // A model is not made twice: its name is its id.
    let again =
        |service: Service, id: String| async move { Ok((StatusCode::CREATED, service.models().get(&id).await?)) };
    idempotency::once(&state.service, &headers, "POST /v1/models", &bytes, work, again).await
}

/// One model: its family, size, card and recommended settings.
#[utoipa::path(
    get, path = "/v1/models/{*id}", tag = "models", operation_id = "get_model",
    params(("id" = String, Path, description = "The model's name; it may contain slashes")),
    responses((status = 200, body = ModelEntry),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn get_model(state: AppState, Path(id): Path<String>) -> Result<axum::Json<ModelEntry>, Problem> {
    Ok(axum::Json(state.service.models().get(&id).await?))
}

/// Unregister a model. Its files are kept: a folder in its place, a download in the cache folder. A checkpoint that is
/// served under the name is no longer served; the checkpoint is kept.
#[utoipa::path(
    delete, path = "/v1/models/{*id}", tag = "models", operation_id = "delete_model",
    params(("id" = String, Path, description = "The model's name; it may contain slashes")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409,
            description = "Unfinished jobs or checkpoints use it (`holders`), it is being downloaded, or it is built \
                          in", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn delete_model(state: AppState, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    state.service.models().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
