//! `/v1/load_lora_adapter` and `/v1/unload_lora_adapter`: vLLM's calls, so that trainers may publish adapters.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::Json;
use super::problem::{Problem, ProblemBody};
use crate::service::inference::adapters::{LoadAdapterRequest, UnloadAdapterRequest};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(load_lora_adapter)).routes(routes!(unload_lora_adapter))
}

/// Serve a low-rank adapter under a name of its own, until it is unloaded or the server stops. For admins.
///
/// The calls and their answers are vLLM's. The folder is one of the server's machine, below one of `model_roots`.
#[utoipa::path(
    post, path = "/v1/load_lora_adapter", tag = "inference", operation_id = "load_lora_adapter",
    request_body = LoadAdapterRequest,
    responses(
        (status = 200, description = "It is served", body = String, content_type = "text/plain"),
        (status = "4XX", description = "A problem; `errors` names each bad field", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn load_lora_adapter(state: AppState, Json(request): Json<LoadAdapterRequest>) -> Result<String, Problem> {
    Ok(state.service.inference().load_adapter(request).await?)
}

/// Forget a low-rank adapter; requests that were accepted are answered. For admins.
#[utoipa::path(
    post, path = "/v1/unload_lora_adapter", tag = "inference", operation_id = "unload_lora_adapter",
    request_body = UnloadAdapterRequest,
    responses(
        (status = 200, description = "It is no longer served", body = String, content_type = "text/plain"),
        (status = 404, description = "No adapter of this name is loaded", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn unload_lora_adapter(state: AppState, Json(request): Json<UnloadAdapterRequest>) -> Result<String, Problem> {
    Ok(state.service.inference().unload_adapter(request).await?)
}
