//! Visually-Guided Policy Optimization (arXiv 2604.09349) on one page: rollout, reward, weigh, loss, update.
//!
//! ```sh
//! cargo run --release --example minimal_vgpo
//! ```
//!
//! The policy is the model that ships with this repository: it answers questions about handwritten digits, and was
//! taught by demonstrations that forget to look at the picture. A right answer is worth 1. From that alone, [`train`]
//! makes it better, with more credit to the tokens and the responses that look at the image. The objective is written
//! out in [`Vgpo`]: change it there and see what becomes of the numbers. On two cores it takes half a minute, and the
//! share of right answers climbs from about 0.5 to 0.7.
//!
//! Everything else is the trainer's own: `vgpo train` adds settings, evaluation, checkpoints, metrics and other
//! objectives around the same five calls (`src/train/reinforcement.rs`).
#![allow(clippy::print_stdout, reason = "a line for every step is what this program is for")]

use std::error::Error;
use std::fmt::{Display, Formatter};
use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use serde_json::json;
use vgpo::algorithm::objective::{Clipped, TokenLoss, policy_loss};
use vgpo::algorithm::signals::VisualSignals;
use vgpo::algorithm::{
    Algorithm, AlgorithmError, BatchTotals, GroupWeights, LossOutput, Needs, ResponseTokens, Trajectory,
    TrajectoryGroup, TrajectoryWeights,
};
use vgpo::config::job;
use vgpo::data::{self, Split};
use vgpo::domain::spec::{JobSpec, LossAverage};
use vgpo::model::sampler::stream;
use vgpo::prompt::Processor;
use vgpo::reward;
use vgpo::train::group::{Group, responses, sample, sequences, weigh};
use vgpo::train::optimizer::{AdamW, DecayScope};
use vgpo::train::order::RowOrder;
use vgpo::train::parallel::Pool;
use vgpo::train::policy::Policy;
use vgpo::train::rewards::RewardContext;
use vgpo::train::rollout::RolloutSettings;
use vgpo::train::source::PromptSource;

/// The model: weights, configuration and tokenizer in a Hugging Face folder.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/starter");
/// Steps of the example.
const STEPS: u64 = 40;
/// Strength of the visual attention compensation.
const BETA: f64 = 0.3;
/// The gate looks at this last share of a response …
const GAMMA: f64 = 0.5;
/// … and lets this share of it pass, the most visual tokens.
const KAPPA: f64 = 0.2;
/// The ratio of new to old policy counts from `1 - CLIP_LOW` …
const CLIP_LOW: f64 = 0.2;
/// … to `1 + CLIP_HIGH`.
const CLIP_HIGH: f64 = 0.28;
/// Below this range a min-max would only enlarge the rounding of 32-bit floats.
const NO_RANGE: f64 = 1e-6;

fn main() -> Result<(), Box<dyn Error>> {
    train(STEPS, |line| println!("{line}"))
}

/// The same settings as `POST /v1/jobs` and `vgpo train` take; what is left out has the documented defaults.
fn settings() -> Result<JobSpec, Box<dyn Error>> {
    let settings = json!({
        "model": "starter", "dataset": "digits", "reward": { "type": "math" }, "seed": 1,
        "rollout": { "group_size": 8, "max_new_tokens": 48 },
        "batch": { "prompts_per_step": 16, "minibatch_prompts": 16, "microbatch_tokens": 1024 },
        "optimizer": { "learning_rate": 2e-4, "betas": [0.9, 0.95], "warmup_steps": 0 },
    });
    let resolved = job::resolve(&settings, &[]);
    resolved.map(|job| job.spec).map_err(|faults| faults.iter().map(ToString::to_string).collect::<String>().into())
}

/// Trains the starter for `steps` steps, and tells what each one saw.
pub fn train(steps: u64, mut tell: impl FnMut(Line)) -> Result<(), Box<dyn Error>> {
    let spec = settings()?;
    let policy = Policy::open(&spec, Path::new(MODEL), None, &Device::Cpu, false)?;
    let info = policy.tracked.info();
    let processor = Arc::new(Processor::from_dir(Path::new(MODEL), info)?);
    let dataset = data::open("digits")?;
    let max_new_tokens = spec.rollout.max_new_tokens;
    let source = PromptSource::new(processor, dataset, Split::Train, &spec.data, info, max_new_tokens)?;
    let order = RowOrder::new(source.rows(), spec.seed, true);
    let reward = reward::build(&spec.reward)?;
    let mut optimizer = AdamW::new(&spec.optimizer, DecayScope::Matrices);
    let pool = Pool::new(policy.tracked.info().parameters)?;
    let sampling = RolloutSettings {
        group_size: spec.rollout.group_size as usize,
        rows: 256,
        temperature: spec.rollout.temperature,
        top_p: spec.rollout.top_p,
        max_new_tokens: max_new_tokens as usize,
        attention: false,
        similarity: true,
    };
    let mut cursor = 0;
    for step in 1..=steps {
        // Rollout: a group of responses to each of the next prompts, sampled from the policy as it is. Along with every
        // token comes the similarity of its hidden state with the mean state of the image's tokens.
        let prompts = source.next_prompts(&order, &mut cursor, spec.batch.prompts_per_step)?;
        let sampled = sample(&pool, policy.detached.as_ref(), prompts, &sampling, |prompt, index| {
            stream(&[spec.seed, prompt.cursor, index as u64])
        })?;

        // Reward: 1 for a right answer, else 0. A group whose answers are all right or all wrong teaches nothing.
        let (reward, processor) = (reward.as_ref(), source.processor());
        let rewards = RewardContext { reward, processor, run: "minimal", step, part: "" };
        let mut groups = rewards.compute(sampled)?;
        let accuracy = mean(&responses(&groups).map(|response| response.verdict.reward).collect::<Vec<_>>());
        groups.retain(|group| group.passes(spec.rollout.filter.as_ref()));

        // Weigh: rewards become an advantage per response, and visual focus shapes it into one per token.
        for group in &mut groups {
            group.prepare(None);
        }
        weigh(&mut groups, &Vgpo, spec.seed, (step - 1) as f64 / steps as f64)?;

        // Loss: a forward pass, the objective's exact derivative by every log-prob, and from there the backward pass.
        let learner = policy.learner(&pool, spec.rollout.temperature, spec.batch.microbatch_tokens);
        let output = learner.gradients(&sequences(&groups), &Vgpo)?;

        // Update: clip the gradient's norm, then AdamW on the weights that the next rollout samples from.
        optimizer.step(policy.folder.parameters(), &output.gradients, spec.optimizer.learning_rate)?;
        tell(Line { step, accuracy, late_over_early: late_over_early(&groups), loss: output.loss });
    }
    Ok(())
}

/// What a step saw before its update.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// The step, from 1.
    pub step: u64,
    /// Share of right answers among all sampled ones.
    pub accuracy: f64,
    /// Visual focus of the last third of the responses over that of the first: below 1, the model looks away.
    pub late_over_early: f64,
    /// The loss; 0 at advantages that cancel out, and of either sign.
    pub loss: f64,
}

impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { step, accuracy, late_over_early, loss } = self;
        write!(
            f,
            "step {step:2}  accuracy {accuracy:.3}  visual focus late/early {late_over_early:.3}  loss {loss:+.4}"
        )
    }
}

/// The objective: group-relative advantages, redistributed by how visual tokens and responses are, under the clipped
/// surrogate. `src/algorithm/vgpo.rs` is the same with every switch of the paper's ablation.
#[derive(Debug, Clone, Copy)]
pub struct Vgpo;

impl Algorithm for Vgpo {
    fn name(&self) -> &'static str {
        "minimal vgpo"
    }

    fn needs(&self) -> Needs {
        Needs { visual_focus: true, ..Needs::default() }
    }

    fn weigh(&self, group: &TrajectoryGroup) -> Result<GroupWeights, AlgorithmError> {
        let mut responses: Vec<TrajectoryWeights> = group.trajectories.iter().map(within_response).collect();
        // Between responses (Eq. 9-11): those that look at the image more than the group's others count more.
        let accumulated: Vec<f64> = responses.iter().map(|response| response.visual_accumulation).collect();
        let phi = centred(&accumulated);
        let advantage = standardized(&group.rewards());
        for (i, response) in responses.iter_mut().enumerate() {
            (response.advantage, response.phi) = (advantage[i], phi[i]);
            // A (1 + psi) (1 + phi)
            let of_token = |psi: &f64| advantage[i] * (1.0 + phi[i]) * (1.0 + psi);
            response.shaped_advantage = response.psi.iter().map(of_token).collect();
        }
        Ok(GroupWeights { has_image: group.has_image, trajectories: responses })
    }

    /// `-min(r A, clip(r) A)` with `r = exp(logp - logp_old)`, averaged over all tokens of the mini-batch.
    fn loss(&self, responses: &[ResponseTokens<'_>], totals: BatchTotals) -> Result<LossOutput, AlgorithmError> {
        policy_loss(responses, totals, LossAverage::Token, 0.0, |response| {
            let token = |t: usize| {
                let ratio = (response.logprobs[t] - response.old_logprobs[t]).exp();
                let free = ratio * response.advantages[t];
                let clipped = ratio.clamp(1.0 - CLIP_LOW, 1.0 + CLIP_HIGH) * response.advantages[t];
                // The derivative of r by logp is r itself; where the clip holds, there is none.
                let gradient = if free <= clipped { -free } else { 0.0 };
                TokenLoss { loss: -free.min(clipped), gradient, clipped: Clipped::No, dual: false }
            };
            (0..response.logprobs.len()).map(token).collect()
        })
    }
}

/// Within a response: the focus of every token, compensated where it fades late, and the weight that follows from it.
fn within_response(response: &Trajectory) -> TrajectoryWeights {
    let tokens = response.tokens as f64;
    // rho: the cosine with the image's prototype, in [0, 1] (Eq. 4).
    let focus: Vec<f64> = response.similarity.iter().map(|cosine| 0.5 * (1.0 + cosine)).collect();
    // Visual attention compensation (Eq. 5-6): the most visual tokens of the late part gain with their distance.
    let late = &focus[focus.len() - (GAMMA * tokens).ceil() as usize..];
    let mut ranked = late.to_vec();
    ranked.sort_by(|a, b| b.total_cmp(a));
    let passing = ((KAPPA * ranked.len() as f64) as usize).max(1);
    let threshold = ranked[passing - 1];
    let start = focus.len() - late.len();
    let compensate = |(t, rho): (usize, &f64)| {
        let gate = if t >= start && *rho >= threshold { 1.0 } else { 0.0 };
        rho * (1.0 + gate * BETA * (t + 1) as f64 / tokens)
    };
    let compensated: Vec<f64> = focus.iter().enumerate().map(compensate).collect();
    TrajectoryWeights {
        visual_accumulation: compensated.iter().sum(),
        // Between tokens (Eq. 7-8): those that look at the image more than the response's others count more.
        psi: centred(&compensated),
        compensated_focus: compensated,
        focus,
        ..TrajectoryWeights::default()
    }
}

/// Scaled to [0, 1], minus the mean: weights that redistribute and add up to 0.
fn centred(values: &[f64]) -> Vec<f64> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high - low < NO_RANGE {
        return vec![0.0; values.len()];
    }
    let scaled: Vec<f64> = values.iter().map(|value| (value - low) / (high - low)).collect();
    let middle = mean(&scaled);
    scaled.iter().map(|value| value - middle).collect()
}

/// Rewards against the mean of their group, in standard deviations.
fn standardized(rewards: &[f64]) -> Vec<f64> {
    let middle = mean(rewards);
    let squares: f64 = rewards.iter().map(|reward| (reward - middle).powi(2)).sum();
    let deviation = (squares / (rewards.len() as f64 - 1.0)).sqrt();
    rewards.iter().map(|reward| (reward - middle) / (deviation + 1e-6)).collect()
}

fn late_over_early(groups: &[Group]) -> f64 {
    let mut signals = VisualSignals::default();
    responses(groups).for_each(|response| signals.add(&response.weights));
    signals.summary().late_early_ratio.unwrap_or(f64::NAN)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
