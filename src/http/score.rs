//! `/v1/score`: how a model reads given responses.

use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Json;
use super::problem::{Problem, ProblemBody};
use super::{AppState, answer};
use crate::serving::answer::ScoreAnswer;
use crate::serving::request::ScoreRequest;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(score))
}

/// Score responses: log-probs, visual focus, attention, and the weights of VGPO for given rewards.
///
/// With `ablate`, a second pass hides the image, its most attended cells or the same number of random ones (their
/// pixels get the mean colour that images are normalised by): `delta_logprob` shows which tokens depend on them.
#[utoipa::path(
    post, path = "/v1/score", tag = "inference", operation_id = "score",
    request_body = ScoreRequest,
    responses(
        (status = 200, description = "The scores", body = ScoreAnswer),
        (status = "4XX", description = "A problem; `errors` names each bad field", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn score(state: AppState, Json(request): Json<ScoreRequest>) -> Result<Response, Problem> {
    answer::large(state.service.inference().score(request).await?).await
}
