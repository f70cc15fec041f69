//! Chat completions in `OpenAI`'s shape, answered by the same engine as `/generate`.
//!
//! Field names and behaviour follow `OpenAI`'s API reference ("Create chat completion"). Fields that have no effect
//! here are accepted; fields that cannot be honoured are refused by name.

pub mod answer;
mod fields;
mod others;
pub mod request;
mod stream;

use futures_util::{Stream, StreamExt};

use crate::clock;
use crate::service::inference::Inference;
use crate::service::{Result, ServiceError};
use crate::serving::GenerateEvent;
use answer::{ChatAnswer, ChatChunk, Head};
use request::ChatRequest;

/// One frame of a streamed chat completion.
#[derive(Debug)]
pub enum ChatFrame {
    /// A chunk.
    Chunk(Box<ChatChunk>),
    /// The generation failed; nothing follows.
    Failed(ServiceError),
}

impl Inference {
    /// Answers a chat; waits for the whole answer.
    pub async fn chat(&self, request: ChatRequest) -> Result<ChatAnswer> {
        let (head, plan) = self.begin_chat(request).await?;
        let answer = self.generate(plan.generate.clone()).await.map_err(|error| plan.renamed(error))?;
        Ok(answer::whole(head, &plan, answer))
    }

    /// Answers a chat chunk by chunk; the stream ends with the last chunk. Dropping it cancels the generation.
    pub async fn chat_frames(&self, request: ChatRequest) -> Result<impl Stream<Item = ChatFrame> + Send + 'static> {
        let (head, plan) = self.begin_chat(request).await?;
        let events = self.generate_events(plan.generate.clone()).await.map_err(|error| plan.renamed(error))?;
        let mut chunks = stream::Chunks::new(head, plan);
        Ok(events.flat_map(move |event| {
            let frames = match event {
                GenerateEvent::Token(token) => chunks.token(*token).into_iter().map(frame).collect(),
                GenerateEvent::Done(answer) => chunks.done(*answer).into_iter().map(frame).collect(),
                GenerateEvent::Failed(error) => vec![ChatFrame::Failed(error.into())],
            };
            futures_util::stream::iter(frames)
        }))
    }

    async fn begin_chat(&self, request: ChatRequest) -> Result<(Head, request::Plan)> {
        let mut plan = request.plan().map_err(ServiceError::invalid)?;
        let model = match self.served_model(&plan.generate.model).await {
            Err(ServiceError::Invalid { errors, .. }) if errors.iter().any(|error| error.pointer == "/model") => {
                return Err(ServiceError::NotFound { kind: "model", id: plan.generate.model });
            }
            other => other?.id,
        };
        plan.generate.model.clone_from(&model);
        let created = self.clock.now().timestamp();
        Ok((Head { id: clock::new_id("chatcmpl"), created, model }, plan))
    }
}

fn frame(chunk: ChatChunk) -> ChatFrame {
    ChatFrame::Chunk(Box::new(chunk))
}
