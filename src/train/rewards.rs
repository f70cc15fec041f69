//! From sampled tokens to rewards: the reward function gets the responses of a batch together.

use crate::data::Example;
use crate::prompt::Processor;
use crate::reward::{Reward, RewardBatch, RewardInput, Verdict};

use super::error::TrainError;
use super::group::{Group, Response, Sampled};
use super::samples;

/// A reward function, and the batch that it is called for.
#[derive(Clone, Copy)]
pub struct RewardContext<'a> {
    /// The reward function.
    pub reward: &'a dyn Reward,
    /// Decodes tokens.
    pub processor: &'a Processor,
    /// The run.
    pub run: &'a str,
    /// Its step.
    pub step: u64,
    /// Names the batch within the step.
    pub part: &'a str,
}

/// What the reward function gets of a prompt's responses.
struct GroupInput {
    image_sizes: Vec<[u32; 2]>,
    resized_sizes: Vec<[u32; 2]>,
    responses: Vec<NamedText>,
}

/// A response as the reward function gets it.
struct NamedText {
    id: String,
    text: String,
}

impl RewardContext<'_> {
    /// The groups of responses with their verdicts; a response without a verdict leaves its group.
    pub fn compute(&self, sampled: Vec<Sampled>) -> Result<Vec<Group>, TrainError> {
        let verdicts = self.verdicts(&sampled)?;
        Ok(Self::grouped(sampled, verdicts))
    }

    /// The groups of responses with these verdicts, one for every ground truth of a response.
    pub(super) fn grouped(sampled: Vec<Sampled>, verdicts: Vec<Option<Verdict>>) -> Vec<Group> {
        let mut verdicts = verdicts.into_iter();
        let group = |Sampled { prompt, rollouts, version }: Sampled| {
            let (sampled, verdicts_each) = (rollouts.len(), truths(&prompt.example).count());
            let rewarded = |rollout| {
                let verdict = best(verdicts.by_ref().take(verdicts_each))?;
                Some(Response { rollout, verdict, ..Response::default() })
            };
            let responses: Vec<Response> = rollouts.into_iter().filter_map(rewarded).collect();
            Group { prompt, unjudged: sampled - responses.len(), responses, version }
        };
        sampled.into_iter().map(group).collect()
    }

    /// A verdict on every response for every ground truth of its row, in order.
    pub(super) fn verdicts(&self, sampled: &[Sampled]) -> Result<Vec<Option<Verdict>>, TrainError> {
        let groups: Vec<GroupInput> = sampled.iter().map(|group| self.group_input(group)).collect::<Result<_, _>>()?;
        let mut inputs = Vec::new();
        for (Sampled { prompt, rollouts, .. }, group) in sampled.iter().zip(&groups) {
            for (rollout, response) in rollouts.iter().zip(&group.responses) {
                inputs.extend(truths(&prompt.example).map(|ground_truth| RewardInput {
                    id: &response.id,
                    prompt: &prompt.example.prompt,
                    response: &response.text,
                    ground_truth,
                    row: prompt.example.index,
                    image_sizes: &group.image_sizes,
                    resized_sizes: &group.resized_sizes,
                    images: &prompt.example.images,
                    tokens: Some(rollout.tokens.len()),
                }));
            }
        }
        let id = format!("{}:{}:{}", self.run, self.step, self.part);
        Ok(self.reward.judge_all(&RewardBatch { run: self.run, step: self.step, id: &id, inputs: &inputs })?)
    }

    fn group_input(&self, Sampled { prompt, rollouts, .. }: &Sampled) -> Result<GroupInput, TrainError> {
        let mut responses = Vec::with_capacity(rollouts.len());
        for (sample, rollout) in rollouts.iter().enumerate() {
            // What the chat template begins for the response is part of it.
            let text = prompt.rendered.opened.clone() + &samples::text(self.processor, &rollout.tokens)?;
            responses.push(NamedText { id: format!("{}-{sample}", prompt.cursor), text });
        }
        let image_sizes = prompt.example.images.iter().map(|image| [image.width(), image.height()]).collect();
        let resized_sizes = prompt.rendered.layout.iter().map(|image| image.processed.into()).collect();
        Ok(GroupInput { image_sizes, resized_sizes, responses })
    }
}

/// Every ground truth of a row; an empty one where it has none.
fn truths(example: &Example) -> impl Iterator<Item = &str> {
    let none = example.answers.is_empty().then_some("");
    example.answers.iter().map(String::as_str).chain(none)
}

/// The verdict for the ground truth that the response comes closest to; of several as close, the first.
fn best(verdicts: impl Iterator<Item = Option<Verdict>>) -> Option<Verdict> {
    verdicts.flatten().reduce(|best, next| {
        let better = (next.accuracy, next.reward) > (best.accuracy, best.reward);
        if better { next } else { best }
    })
}
