//! `/v1/datasets`

use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::problem::{Problem, ProblemBody};
use crate::domain::dataset::DatasetRecord;
use crate::domain::page::Listing;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_datasets)).routes(routes!(get_dataset))
}

/// Every data set, by name.
#[utoipa::path(
    get, path = "/v1/datasets", tag = "datasets", operation_id = "list_datasets",
    responses((status = 200, description = "All data sets", body = Listing<DatasetRecord>))
)]
async fn list_datasets(State(state): State<AppState>) -> Result<axum::Json<Listing<DatasetRecord>>, Problem> {
    Ok(axum::Json(Listing::whole(state.service.datasets().await?)))
}

/// One data set, by name or id.
#[utoipa::path(
    get, path = "/v1/datasets/{id}", tag = "datasets", operation_id = "get_dataset",
    params(("id" = String, Path, description = "Its name, or `ds_…`")),
    responses((status = 200, body = DatasetRecord), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn get_dataset(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<axum::Json<DatasetRecord>, Problem> {
    Ok(axum::Json(state.service.dataset(&id).await?))
}
