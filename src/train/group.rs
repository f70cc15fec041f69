//! The values of a step: a prompt with its responses, and everything that is known of a response in one place. A step
//! fills them in from sampling to update, so there are no parallel lists.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore as _;

use crate::algorithm::advantage::{RewardPart, RewardStatistics, deviation};
use crate::algorithm::{
    Algorithm, AlgorithmError, DependencyRange, ScorePrecision, Trajectory, TrajectoryGroup, TrajectoryWeights,
};
use crate::domain::eval_row::{ResponseAudit, Thirds};
use crate::domain::spec::{FilterMetric, FilterSpec};
use crate::model::sampler::stream;
use crate::model::{ImagePatches, Sequence, VisionLanguageModel};
use crate::reward::Verdict;

use super::error::TrainError;
use super::learner::Scored;
use super::parallel::Pool;
use super::rollout::{Rollout, RolloutSettings, rollout};
use super::source::Prompt;
use super::train_sequence::TrainSequence;

/// Names the streams of what objectives draw at random among all streams of a seed.
const WEIGHT_STREAM: u64 = 4;

/// A prompt with its sampled responses, before their rewards are computed.
#[derive(Debug)]
pub struct Sampled {
    /// The prompt.
    pub prompt: Prompt,
    /// Its responses.
    pub rollouts: Vec<Rollout>,
    /// The step whose weights sampled them; none: the weights as they are.
    pub version: Option<u64>,
}

/// One prompt and its responses with their verdicts: what advantages are relative to.
#[derive(Debug)]
pub struct Group {
    /// The prompt.
    pub prompt: Prompt,
    /// Its responses.
    pub responses: Vec<Response>,
    /// Responses on which the reward gave no verdict; they are not among `responses`.
    pub unjudged: usize,
    /// The step whose weights sampled them; none: the weights as they are.
    pub version: Option<u64>,
}

/// One response from sampling to update. Fields that the step has not filled in yet are empty.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Its tokens and what was measured while they were sampled.
    pub rollout: Rollout,
    /// Its reward, with parts and accuracy.
    pub verdict: Verdict,
    /// Prompt and response as the learner reads them.
    pub sequence: TrainSequence,
    /// Log-probs, entropy and visual similarity under the policy before the update.
    pub score: Scored,
    /// Its advantage, and the visual weights that shape it.
    pub weights: TrajectoryWeights,
    /// How much its tokens depend on the image, where an evaluation asks for it.
    pub image_dependence: Option<Thirds>,
    /// What an audit measured of it.
    pub audit: Option<ResponseAudit>,
}

/// Samples a group of responses to every prompt; `rng(prompt, sample)` gives each response a random stream of its own.
pub fn sample(
    pool: &Pool,
    model: &dyn VisionLanguageModel,
    prompts: Vec<Prompt>,
    settings: &RolloutSettings,
    rng: impl Fn(&Prompt, usize) -> ChaCha8Rng + Sync,
) -> Result<Vec<Sampled>, TrainError> {
    let sequences: Vec<&Sequence> = prompts.iter().map(|prompt| &prompt.sequence).collect();
    let rollouts = rollout(pool, model, &sequences, settings, |prompt, sample| rng(&prompts[prompt], sample))?;
    Ok(prompts
        .into_iter()
        .zip(rollouts)
        .map(|(prompt, rollouts)| Sampled { prompt, rollouts, version: None })
        .collect())
}

/// Every response of a step, group by group.
pub fn responses(groups: &[Group]) -> impl Iterator<Item = &Response> {
    groups.iter().flat_map(|group| &group.responses)
}

/// The same, mutable.
pub fn responses_mut(groups: &mut [Group]) -> impl Iterator<Item = &mut Response> {
    groups.iter_mut().flat_map(|group| &mut group.responses)
}

/// The sequence of every response, for the learner.
pub fn sequences(groups: &[Group]) -> Vec<&TrainSequence> {
    responses(groups).map(|response| &response.sequence).collect()
}

/// Turns rewards and visual similarity into the advantages of every token, group by group. What is drawn at random
/// depends on `seed` and the prompts' positions only; `progress` is the share of the run's steps that are done. Returns
/// how visual dependency varies over the step, where it was measured.
pub fn weigh(
    groups: &mut [Group],
    algorithm: &dyn Algorithm,
    seed: u64,
    progress: f64,
) -> Result<Option<DependencyRange>, AlgorithmError> {
    let step = RewardStatistics::of(responses(groups).map(|r| (r.rollout.tokens.len(), r.verdict.reward)));
    let mut trajectories: Vec<TrajectoryGroup> = groups.iter().map(|group| group.trajectories(step)).collect();
    let dependency = DependencyRange::of(trajectories.iter().flat_map(|group| &group.trajectories));
    let decoupled: Vec<f64> = trajectories.iter().flat_map(TrajectoryGroup::decoupled_rewards).collect();
    let decoupled_deviation = Some(deviation(&decoupled));
    for (group, trajectories) in groups.iter_mut().zip(&mut trajectories) {
        (trajectories.dependency, trajectories.decoupled_deviation) = (dependency, decoupled_deviation);
        trajectories.progress = Some(progress);
        trajectories.seed = stream(&[seed, WEIGHT_STREAM, group.prompt.cursor]).next_u64();
        let weights = algorithm.weigh(trajectories)?.trajectories;
        for (response, weights) in group.responses.iter_mut().zip(weights) {
            response.sequence.advantages.clone_from(&weights.shaped_advantage);
            response.weights = weights;
        }
    }
    Ok(dependency)
}

impl Group {
    /// Does the prompt have an image?
    pub fn has_image(&self) -> bool {
        !self.prompt.sequence.images.is_empty()
    }

    /// Does the group pass the filter? (DAPO's dynamic sampling.)
    pub fn passes(&self, filter: Option<&FilterSpec>) -> bool {
        if self.responses.len() < 2 {
            return false;
        }
        filter.is_none_or(|filter| {
            let values = self.responses.iter().map(|response| match filter.metric {
                // A run whose reward has no accuracy is refused before it begins.
                FilterMetric::Accuracy => response.verdict.accuracy.unwrap_or_default(),
                FilterMetric::Reward => response.verdict.reward,
            });
            let mean = values.sum::<f64>() / self.responses.len() as f64;
            filter.low < mean && mean < filter.high
        })
    }

    /// Prepares the responses for the learner: each after its prompt, with the similarity that was measured while
    /// sampling. They share one masked copy of the prompt's images, if there is one.
    pub fn prepare(&mut self, masked_images: Option<&Vec<Arc<ImagePatches>>>) {
        let prompt = &self.prompt.sequence;
        for response in &mut self.responses {
            let ids = [&prompt.ids[..], &response.rollout.tokens[..]].concat();
            response.sequence = TrainSequence {
                input: Sequence { ids, images: prompt.images.clone() },
                masked_images: masked_images.cloned(),
                prompt_len: prompt.ids.len(),
                ..TrainSequence::default()
            };
            response.score.similarity.clone_from(&response.rollout.similarity);
        }
    }

    /// The group as objectives see it; `step` are the statistics of the rewards of the whole step.
    fn trajectories(&self, step: RewardStatistics) -> TrajectoryGroup {
        let trajectory = |response: &Response| Trajectory {
            tokens: response.rollout.tokens.len(),
            similarity: response.score.similarity.clone(),
            dependency: response.score.dependency.clone(),
            entropy: response.score.entropy.clone(),
            reward: response.verdict.reward,
            parts: response.verdict.terms.iter().map(|&(weight, value)| RewardPart { weight, value }).collect(),
        };
        TrajectoryGroup {
            has_image: self.has_image(),
            precision: ScorePrecision::F32,
            step: Some(step),
            trajectories: self.responses.iter().map(trajectory).collect(),
            ..TrajectoryGroup::default()
        }
    }
}
