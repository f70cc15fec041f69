//! From sampled tokens to verdicts: a step's responses are judged together.

use crate::data::Example;
use crate::reward::{Reward, RewardBatch, RewardInput, Verdict};

use super::error::TrainError;
use super::rollout::Rollout;
use super::samples;
use super::source::{Prompt, PromptSource};

/// Who judges what, and when.
pub(super) struct Judge<'a> {
    /// The reward.
    pub(super) reward: &'a dyn Reward,
    /// Where the prompts came from; decodes tokens.
    pub(super) source: &'a PromptSource,
    /// The run.
    pub(super) run: &'a str,
    /// Its step.
    pub(super) step: u64,
    /// Names the batch within the step.
    pub(super) part: &'a str,
}

impl Judge<'_> {
    /// Verdicts on the responses of each prompt, in order; none where a response could not be judged.
    pub(super) fn verdicts(
        &self,
        prompts: &[Prompt],
        rollouts: &[Vec<Rollout>],
    ) -> Result<Vec<Vec<Option<Verdict>>>, TrainError> {
        let mut texts = Vec::new();
        let mut sizes = Vec::with_capacity(prompts.len());
        let mut resized = Vec::with_capacity(prompts.len());
        for (prompt, group) in prompts.iter().zip(rollouts) {
            sizes.push(prompt.example.images.iter().map(|image| [image.width(), image.height()]).collect::<Vec<_>>());
            resized.push(prompt.rendered.layout.iter().map(|image| image.processed.into()).collect::<Vec<[u32; 2]>>());
            for (sample, rollout) in group.iter().enumerate() {
                // What the prompt began for the response is part of it.
                let text = prompt.rendered.opened.clone() + &samples::text(self.source.processor(), &rollout.tokens)?;
                texts.push((format!("{}-{sample}", prompt.cursor), text, rollout.tokens.len()));
            }
        }
        let of_prompt = prompts.iter().zip(sizes.iter().zip(&resized)).zip(rollouts);
        let of_prompt = of_prompt.flat_map(|(pair, group)| std::iter::repeat_n(pair, group.len()));
        let mut inputs = Vec::with_capacity(texts.len());
        for ((id, response, tokens), (prompt, (sizes, resized))) in texts.iter().zip(of_prompt) {
            inputs.extend(truths(&prompt.example).map(|ground_truth| RewardInput {
                id,
                prompt: &prompt.example.prompt,
                response,
                ground_truth,
                row: prompt.example.index,
                image_sizes: sizes,
                resized_sizes: resized,
                images: &prompt.example.images,
                tokens: Some(*tokens),
            }));
        }
        let id = format!("{}:{}:{}", self.run, self.step, self.part);
        let batch = RewardBatch { run: self.run, step: self.step, id: &id, inputs: &inputs };
        let mut verdicts = self.reward.judge_all(&batch)?.into_iter();
        let mut of_prompts = Vec::with_capacity(prompts.len());
        for (prompt, group) in prompts.iter().zip(rollouts) {
            let truths = truths(&prompt.example).count();
            of_prompts.push(group.iter().map(|_| best(verdicts.by_ref().take(truths))).collect());
        }
        Ok(of_prompts)
    }
}

/// Every ground truth of a row; an empty one where it has none.
fn truths(example: &Example) -> impl Iterator<Item = &str> {
    let none = example.answers.is_empty().then_some("");
    example.answers.iter().map(String::as_str).chain(none)
}

/// The verdict by the truth that the response comes closest to; the first one where several are as close.
fn best(verdicts: impl Iterator<Item = Option<Verdict>>) -> Option<Verdict> {
    verdicts.flatten().reduce(|best, next| {
        let better = (next.accuracy, next.reward) > (best.accuracy, best.reward);
        if better { next } else { best }
    })
}
