//! `/v1/runs/{id}/samples/{sample}/maps` and `/v1/runs/{id}/eval-rows/{row}/maps`

use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::QueryParams;
use super::problem::{Problem, ProblemBody};
use super::{AppState, answer};
use crate::config::serving as defaults;
use crate::service::runs::evaluations::maps::{EvalRowMaps, RowMapsQuery};
use crate::service::runs::maps::SampleMaps;
use crate::serving::request::{AttentionOptions, Heads, MapFormat, MapScope, MapSource};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(maps)).routes(routes!(row_maps))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MapsQuery {
    /// Which response of the group, from 0.
    #[serde(default)]
    response: usize,
    /// One map per image (`summary`, the default), or also one per token (`tokens`).
    #[serde(default = "summary")]
    #[param(inline)]
    maps: MapScope,
    /// `attention` (the default) or `similarity`.
    #[serde(default)]
    #[param(inline)]
    source: MapSource,
    /// `mean` (the default) or `max`.
    #[serde(default)]
    #[param(inline)]
    heads: Heads,
    /// `values` (the default), `u8` or `png`.
    #[serde(default)]
    #[param(inline)]
    format: MapFormat,
    /// Draw PNG maps over the image (default true).
    #[serde(default = "defaults::overlay")]
    overlay: bool,
}

fn summary() -> MapScope {
    MapScope::Summary
}

/// Attention maps of a sampled response, recomputed with the checkpoint nearest to the sample's step, which the answer
/// names.
#[utoipa::path(
    get, path = "/v1/runs/{id}/samples/{sample}/maps", tag = "runs", operation_id = "sample_maps",
    params(("id" = String, Path, description = "`run_…`"), ("sample" = String, Path, description = "`smp_…`"),
        MapsQuery),
    responses(
        (status = 200, body = SampleMaps),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn maps(
    state: AppState,
    Path((id, sample)): Path<(String, String)>,
    QueryParams(query): QueryParams<MapsQuery>,
) -> Result<Response, Problem> {
    let attention = AttentionOptions {
        maps: query.maps,
        source: query.source,
        heads: query.heads,
        format: query.format,
        overlay: query.overlay,
        ..AttentionOptions::default()
    };
    answer::large(state.service.runs().sample_maps(&id, &sample, query.response, attention).await?).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RowMapsParams {
    /// The evaluation at this step, or the newest one before it; default: the newest.
    step: Option<u64>,
    /// Which response of the row, from 0.
    #[serde(default)]
    response: usize,
    /// One map per image (`summary`, the default), or also one per token (`tokens`).
    #[serde(default = "summary")]
    #[param(inline)]
    maps: MapScope,
    /// `attention` (the default) or `similarity`.
    #[serde(default)]
    #[param(inline)]
    source: MapSource,
}

/// Attention maps of a response of an evaluation with its images, recomputed with the model that wrote it, or with the
/// checkpoint nearest to the step, which the answer names.
#[utoipa::path(
    get, path = "/v1/runs/{id}/eval-rows/{row}/maps", tag = "runs", operation_id = "eval_row_maps",
    params(("id" = String, Path, description = "`run_…`"), ("row" = u64, Path, description = "Row of the data set"),
        RowMapsParams),
    responses(
        (status = 200, body = EvalRowMaps),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn row_maps(
    state: AppState,
    Path((id, row)): Path<(String, String)>,
    QueryParams(query): QueryParams<RowMapsParams>,
) -> Result<Response, Problem> {
    let attention = AttentionOptions { maps: query.maps, source: query.source, ..AttentionOptions::default() };
    let wanted = RowMapsQuery { row, step: query.step, response: query.response, attention };
    answer::large(state.service.runs().eval_row_maps(&id, wanted).await?).await
}
