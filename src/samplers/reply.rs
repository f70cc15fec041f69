//! An answer, held against what was asked: everything that training relies on.

use super::exchange::Fault;
use super::question::Question;
use crate::train::rollout::Rollout;
use crate::train::{Difference, EngineError};

/// What a server answered; what it did not say is none.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The model that answered.
    pub model: String,
    /// The prompt as the server read it.
    pub prompt_ids: Option<Vec<u32>>,
    /// The responses.
    pub responses: Vec<Response>,
}

/// One response.
#[derive(Debug, Default)]
pub(super) struct Response {
    /// Its tokens, the end token included.
    pub ids: Option<Vec<u32>>,
    /// Their log-probs.
    pub logprobs: Option<Vec<f64>>,
    /// Why it ended, in the server's words.
    pub ended: String,
}

impl Reply {
    /// The group of responses, if it is whole and the server read the prompt as the trainer does.
    pub(super) fn rollouts(self, question: &Question<'_>, url: &str) -> Result<Vec<Rollout>, Fault> {
        let refused =
            |problem: &str| Fault::Final(EngineError::Refused { url: url.to_owned(), problem: problem.into() });
        let theirs = self.prompt_ids.ok_or_else(|| {
            refused("its answer has no token ids of the prompt (`prompt_token_ids`); it needs a newer version")
        })?;
        let ours = &question.prompt.sequence.ids;
        if theirs != *ours {
            return Err(Fault::Final(EngineError::PromptIds {
                url: url.to_owned(),
                row: question.prompt.example.index,
                difference: Difference { ours: ours.clone(), theirs },
            }));
        }
        let wanted = question.settings.group_size;
        if self.responses.len() != wanted {
            let problem = format!("it answered with {} of {wanted} responses", self.responses.len());
            return Err(Fault::Passing(problem));
        }
        self.responses.into_iter().map(|response| response.rollout(question)).collect()
    }
}

impl Response {
    fn rollout(self, question: &Question<'_>) -> Result<Rollout, Fault> {
        let half = |problem: String| Fault::Passing(format!("half an answer: {problem}"));
        let tokens = self.ids.unwrap_or_default();
        let logprobs = self.logprobs.unwrap_or_default();
        let (setup, limit) = (question.setup, question.settings.max_new_tokens);
        let Some(last) = tokens.last() else { return Err(half("a response without token ids".to_owned())) };
        if logprobs.len() != tokens.len() {
            return Err(half(format!("{} log-probs for {} tokens", logprobs.len(), tokens.len())));
        }
        if logprobs.iter().any(|logprob| !logprob.is_finite() || *logprob > 1e-3) {
            return Err(half("a log-prob that is not a finite number of at most 0".to_owned()));
        }
        if tokens.len() > limit {
            return Err(half(format!("{} tokens, although {limit} are allowed", tokens.len())));
        }
        let unusable = |id: &&u32| **id as usize >= setup.vocabulary || setup.placeholders.contains(id);
        if let Some(id) = tokens.iter().find(unusable) {
            return Err(half(format!("token {id} is outside the vocabulary, or stands for an image")));
        }
        let ended = setup.end_tokens.contains(last);
        if !ended && tokens.len() < limit {
            let (count, why) = (tokens.len(), self.ended);
            return Err(half(format!("a response of {count} tokens without an end token (`{why}`)")));
        }
        Ok(Rollout { cut_off: !ended, tokens, logprobs, ..Rollout::default() })
    }
}
