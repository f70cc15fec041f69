//! `/v1/models`: `OpenAI`'s shape, and what we know beside it.

use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::problem::{Problem, ProblemBody};
use crate::service::models::{ModelEntry, ModelList};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_models)).routes(routes!(get_model))
}

/// Every registered model.
#[utoipa::path(
    get, path = "/v1/models", tag = "models", operation_id = "list_models",
    responses((status = 200, description = "All models, in OpenAI's shape", body = ModelList))
)]
async fn list_models(State(state): State<AppState>) -> Result<axum::Json<ModelList>, Problem> {
    Ok(axum::Json(state.service.models().await?))
}

/// One model: its family, size, card and recommended settings.
#[utoipa::path(
    get, path = "/v1/models/{*id}", tag = "models", operation_id = "get_model",
    params(("id" = String, Path, description = "The model's name; it may hold slashes")),
    responses((status = 200, body = ModelEntry), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn get_model(State(state): State<AppState>, Path(id): Path<String>) -> Result<axum::Json<ModelEntry>, Problem> {
    Ok(axum::Json(state.service.model(&id).await?))
}
