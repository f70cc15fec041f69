//! `/v1/rewards/evaluate`: try a reward on given responses.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::extract::Json;
use super::problem::{Problem, ProblemBody};
use crate::service::jobs::rewards::{EvaluateRewards, EvaluatedRewards};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(evaluate_rewards))
}

/// Compute the rewards of responses as in a job with this reward.
#[utoipa::path(
    post, path = "/v1/rewards/evaluate", tag = "rewards", operation_id = "evaluate_rewards",
    request_body = EvaluateRewards,
    responses(
        (status = 200, description = "One verdict per item, in order", body = EvaluatedRewards),
        (status = "4XX", description = "A problem; `errors` names each bad field", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn evaluate_rewards(
    state: AppState,
    Json(request): Json<EvaluateRewards>,
) -> Result<axum::Json<EvaluatedRewards>, Problem> {
    Ok(axum::Json(state.service.jobs().evaluate_rewards(request).await?))
}
