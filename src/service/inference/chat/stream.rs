//! From the engine's tokens to chunks.

use super::answer::{self, ChatChunk, ChoiceDetails, ChunkChoice, Delta, Head};
use super::request::Plan;
use crate::serving::answer::{AttentionAnswer, GenerateAnswer, TokenEvent, TokenInfo, TokenMaps};

/// The state of a stream.
pub(super) struct Chunks {
    head: Head,
    plan: Plan,
    choices: Vec<Progress>,
}

/// How much of a response has been sent.
#[derive(Default)]
struct Progress {
    started: bool,
    /// Bytes of the tokens sent so far.
    bytes: usize,
    /// Bytes of the text sent so far.
    text: usize,
    /// Tokens whose text has not come out yet: they may end the response, and then are not sent.
    held: Vec<TokenInfo>,
    maps: Vec<TokenMaps>,
}

impl Chunks {
    pub(super) fn new(head: Head, plan: Plan) -> Self {
        let choices = (0..plan.generate.n).map(|_| Progress::default()).collect();
        Self { head, plan, choices }
    }

    /// What a token adds.
    pub(super) fn token(&mut self, event: TokenEvent) -> Vec<ChatChunk> {
        let index = event.choice;
        let mut chunks: Vec<ChatChunk> = self.opening(index).into_iter().collect();
        let Some(progress) = self.choices.get_mut(index) else { return chunks };
        progress.held.push(event.token);
        if !event.maps.is_empty() {
            progress.maps.push(TokenMaps { index: event.index, maps: event.maps });
        }
        if !event.text.is_empty() {
            progress.text += event.text.len();
            chunks.push(self.told(index, event.text));
        }
        chunks
    }

    /// The ends of all responses, and the token counts where they were asked for.
    pub(super) fn done(&mut self, answer: GenerateAnswer) -> Vec<ChatChunk> {
        let mut chunks = Vec::new();
        let details = self.plan.visual.then(|| answer::details(&answer));
        for choice in answer.choices {
            chunks.extend(self.opening(choice.index));
            chunks.extend(self.rest(choice.index, &choice.text));
            let visual = ChoiceDetails { visual: choice.visual, tokens: Vec::new(), attention: choice.attention };
            let mut last = self.chunk(choice.index, Delta::default());
            if let Some(end) = last.choices.first_mut() {
                end.finish_reason = Some(choice.finish_reason);
                end.vgpo = self.plan.visual.then_some(visual);
            }
            last.vgpo.clone_from(&details);
            chunks.push(last);
        }
        if self.plan.include_usage {
            let mut usage = self.chunk(0, Delta::default());
            usage.choices.clear();
            usage.usage = Some(answer.usage.into());
            chunks.push(usage);
        }
        chunks
    }

    /// Text and tokens that were held back until the end.
    fn rest(&mut self, index: usize, text: &str) -> Option<ChatChunk> {
        let progress = self.choices.get_mut(index)?;
        let missing = text.get(progress.text..).unwrap_or_default().to_owned();
        let visible = answer::visible(&progress.held, text.len().saturating_sub(progress.bytes));
        let wanted = self.plan.logprobs && visible > 0 || self.plan.visual && !progress.held.is_empty();
        if missing.is_empty() && !wanted {
            return None;
        }
        if !self.plan.visual {
            progress.held.truncate(visible);
        }
        let mut chunk = self.told(index, missing);
        if let Some(logprobs) = chunk.choices.first_mut().and_then(|choice| choice.logprobs.as_mut()) {
            logprobs.content.truncate(visible);
        }
        Some(chunk)
    }

    /// The first chunk of a response.
    fn opening(&mut self, index: usize) -> Option<ChatChunk> {
        let progress = self.choices.get_mut(index).filter(|progress| !progress.started)?;
        progress.started = true;
        Some(self.chunk(index, Delta { role: Some("assistant".to_owned()), content: Some(String::new()) }))
    }

    /// A chunk with new text and everything that is held.
    fn told(&mut self, index: usize, text: String) -> ChatChunk {
        let mut chunk = self.chunk(index, Delta { role: None, content: Some(text) });
        let (Some(progress), Some(choice)) = (self.choices.get_mut(index), chunk.choices.first_mut()) else {
            return chunk;
        };
        let tokens = std::mem::take(&mut progress.held);
        progress.bytes += tokens.iter().map(|token| token.bytes.len()).sum::<usize>();
        choice.logprobs = self.plan.logprobs.then(|| answer::logprobs(&tokens));
        if self.plan.visual {
            let attention =
                AttentionAnswer { tokens: std::mem::take(&mut progress.maps), ..AttentionAnswer::default() };
            choice.vgpo = Some(ChoiceDetails { visual: None, tokens, attention });
        }
        chunk
    }

    fn chunk(&self, index: usize, delta: Delta) -> ChatChunk {
        let Head { id, created, model } = self.head.clone();
        ChatChunk {
            id,
            object: "chat.completion.chunk".to_owned(),
            created,
            model,
            choices: vec![ChunkChoice { index, delta, logprobs: None, finish_reason: None, vgpo: None }],
            usage: None,
            vgpo: None,
        }
    }
}
