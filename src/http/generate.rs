//! `/generate`: responses with attention maps and visual focus, whole or token by token.

use axum::response::Response;
use axum::response::sse::Event as SseEvent;
use futures_util::StreamExt;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Json;
use super::problem::{Problem, ProblemBody};
use super::{AppState, answer, sse};
use crate::service::ServiceError;
use crate::serving::GenerateEvent;
use crate::serving::answer::GenerateAnswer;
use crate::serving::request::GenerateRequest;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(generate)).routes(routes!(generate_v1))
}

/// Generate responses to a prompt with images.
///
/// Every token has its log-prob, its visual focus score and the shares of attention on the image, on the rest of the
/// prompt and on earlier generated tokens; attention maps on request. With `stream` the answer is a stream of
/// server-sent events: `token` (`TokenEvent`) for each token, then `done` (`GenerateAnswer` without the tokens that
/// were sent) or `error` (`Problem`).
#[utoipa::path(
    post, path = "/generate", tag = "inference", operation_id = "generate",
    request_body = GenerateRequest,
    responses(
        (status = 200, description = "The answer, or with `stream` its events",
            content((GenerateAnswer = "application/json"), (String = "text/event-stream"))),
        (status = 429, description = "Too many requests are waiting: repeat after Retry-After", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = "4XX", description = "A problem; `errors` names each bad field", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn generate(state: AppState, Json(request): Json<GenerateRequest>) -> Result<Response, Problem> {
    if !request.stream {
        return answer::large(state.service.inference().generate(request).await?).await;
    }
    Ok(sse::respond(state.service.inference().generate_events(request).await?.map(frame)))
}

/// The same as `/generate`.
#[utoipa::path(
    post, path = "/v1/generate", tag = "inference", operation_id = "generate_v1",
    request_body = GenerateRequest,
    responses(
        (status = 200, description = "The answer, or with `stream` its events",
            content((GenerateAnswer = "application/json"), (String = "text/event-stream"))),
        (status = "4XX", description = "A problem; `errors` names each bad field", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn generate_v1(state: AppState, request: Json<GenerateRequest>) -> Result<Response, Problem> {
    generate(state, request).await
}

fn frame(event: GenerateEvent) -> SseEvent {
    match event {
        GenerateEvent::Token(token) => named("token", &token),
        GenerateEvent::Done(answer) => named("done", &answer),
        GenerateEvent::Failed(error) => named("error", &Problem::from(ServiceError::from(error)).body("")),
    }
}

fn named(name: &str, data: &impl Serialize) -> SseEvent {
    SseEvent::default().event(name).json_data(data).unwrap_or_else(|error| {
        tracing::error!(%error, "an event cannot be written");
        SseEvent::default().event("error").data(Problem::new(super::problem::INTERNAL, "").body("").to_string())
    })
}
