//! `/v1/chat/completions`: `OpenAI`'s shape over the same engine as `/generate`.

use axum::response::Response;
use axum::response::sse::Event as SseEvent;
use futures_util::StreamExt;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Json;
use super::openai_error::{OpenAiError, error_body};
use super::problem::Problem;
use super::{AppState, answer, sse};
use crate::service::inference::chat::ChatFrame;
use crate::service::inference::chat::answer::{ChatAnswer, ChatChunk};
use crate::service::inference::chat::request::ChatRequest;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create_chat_completion))
}

/// Chat completions for OpenAI's clients.
///
/// Images are `image_url` parts with `data:` URLs. With `stream` the answer is a stream of `ChatChunk` events that ends
/// with `[DONE]`. Errors have OpenAI's format.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "inference", operation_id = "create_chat_completion",
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer, or with `stream` its chunks",
            content((ChatAnswer = "application/json"), (ChatChunk = "text/event-stream"))),
        (status = "4XX", description = "An error in OpenAI's format", body = OpenAiError)
    )
)]
async fn create_chat_completion(state: AppState, Json(request): Json<ChatRequest>) -> Result<Response, Problem> {
    if !request.wants_stream() {
        return answer::large(state.service.inference().chat(request).await?).await;
    }
    // The sentinel closes a complete stream only: a client must see that a failed one is cut short.
    let frames = state.service.inference().chat_frames(request).await?;
    let ended = futures_util::stream::once(async { None });
    let frames = frames.map(Some).chain(ended).scan(false, |failed, frame| {
        let event = match frame {
            Some(ChatFrame::Failed(error)) => {
                *failed = true;
                Some(SseEvent::default().data(error_body(&Problem::from(error)).to_string()))
            }
            Some(ChatFrame::Chunk(chunk)) => SseEvent::default().json_data(&chunk).ok(),
            None => (!*failed).then(|| SseEvent::default().data("[DONE]")),
        };
        std::future::ready(event)
    });
    Ok(sse::respond(frames))
}
