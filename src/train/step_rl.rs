//! One reinforcement step, as in arXiv 2604.09349: sample groups, judge them, drop those that teach nothing, see how
//! visual every token is under the old policy, shape the advantages, update.
//!
//! A step of one update trains the policy that sampled, so the update's own forward pass gives the old log-probs too (their
//! ratio is 1), and how visual each token is was seen while sampling. Only steps of several updates, and objectives that
//! look at more than that, read the responses once more before the first update.

use std::sync::Arc;

use crate::algorithm::advantage::RewardStatistics;
use crate::algorithm::signals::VisualSignals;
use crate::algorithm::{DependencyRange, GroupWeights, LossStats, ScorePrecision, Trajectory, TrajectoryGroup};
use crate::clock::Stopwatch;
use crate::model::ImagePatches;
use crate::model::hide::hide_at_random;
use crate::model::sampler::stream;
use crate::reward::Verdict;

use super::correction::{RolloutRatios, correction};
use super::error::TrainError;
use super::gather::{Gathered, Group};
use super::learner::{Scored, TrainRow};
use super::metrics::{Metrics, mean};
use super::rollout::Rollout;
use super::samples;
use super::sink::Control;
use super::trainer::{StepEnd, Trainer};

/// Names the streams that decide which patches the masked view hides.
const MASK_STREAM: u64 = 3;
/// Groups that are logged with every token.
const LOGGED_GROUPS: usize = 4;

/// What the old policy thinks of the kept groups.
struct Weighed {
    rows: Vec<Vec<TrainRow>>,
    scored: Vec<Vec<Scored>>,
    weights: Vec<GroupWeights>,
    dependency: Option<DependencyRange>,
}

impl Weighed {
    /// Fills in what only the update's own pass knew: log-probs and entropy of each row, in order.
    fn complete(&mut self, found: Vec<Scored>) {
        for (score, found) in self.scored.iter_mut().flatten().zip(found) {
            score.logprobs = found.logprobs;
            score.entropy = found.entropy;
        }
    }
}

impl Trainer<'_> {
    pub(super) fn reinforcement_step(&mut self) -> Result<StepEnd, TrainError> {
        let Gathered { kept, dropped, mut metrics } = match self.gather()? {
            Ok(gathered) => gathered,
            Err(control) => return Ok(StepEnd::Stopped(control)),
        };
        metrics.set("groups/kept", kept.len() as f64);
        metrics.set("groups/dropped", dropped as f64);
        if kept.is_empty() {
            return Ok(StepEnd::Done(metrics));
        }
        let clock = Stopwatch::start();
        let mut weighed = self.weigh(&kept)?;
        metrics.set("time/logprob", clock.seconds());
        let control = self.sink.control();
        if control != Control::Continue {
            return Ok(StepEnd::Stopped(control));
        }
        let clock = Stopwatch::start();
        let found = self.learn(&weighed, &mut metrics)?;
        metrics.set("time/update", clock.seconds());
        if self.scores_in_update() {
            weighed.complete(found);
        }
        describe(&kept, &weighed, &mut metrics);
        self.log_samples(&kept, &weighed)?;
        Ok(StepEnd::Done(metrics))
    }

    /// Does the update's own pass give the old policy's log-probs? One update a step trains the very policy that sampled.
    pub(super) fn scores_in_update(&self) -> bool {
        let batch = &self.spec.batch;
        let one_update = batch.epochs_per_batch == 1 && batch.minibatch_prompts >= batch.prompts_per_step;
        // Ratios to the sampler, states that predict and masked views are known from a pass of their own only.
        let seen_before = self.spec.rollout.correction_cap.is_none()
            && !self.focuses_on_predicting()
            && self.algorithm.masked_view().is_none_or(|view| view.in_loss);
        one_update && seen_before
    }

    /// What the old policy thinks of every row; log-probs and entropy are left out where the update will find them.
    fn score(&self, groups: &[Group], rows: &[&TrainRow]) -> Result<Vec<Scored>, TrainError> {
        if self.scores_in_update() {
            let seen = |rollout: &Rollout| Scored { similarity: rollout.similarity.clone(), ..Scored::default() };
            return Ok(groups.iter().flat_map(|group| &group.rollouts).map(seen).collect());
        }
        let learner = self.learner();
        let mut scored = learner.score(rows)?;
        if self.algorithm.masked_view().is_some_and(|view| !view.in_loss) {
            for (score, dependency) in scored.iter_mut().zip(learner.dependency(rows)?) {
                score.dependency = dependency;
            }
        }
        Ok(scored)
    }

    /// Log-probs and visual focus under the old policy, and the advantages shaped by them.
    fn weigh(&self, groups: &[Group]) -> Result<Weighed, TrainError> {
        let mut rows: Vec<Vec<TrainRow>> = groups.iter().map(|g| g.rows(self.masked_images(g).as_ref())).collect();
        let flat: Vec<&TrainRow> = rows.iter().flatten().collect();
        let mut scored = self.score(groups, &flat)?.into_iter();
        let scored: Vec<Vec<Scored>> =
            groups.iter().map(|group| scored.by_ref().take(group.rollouts.len()).collect()).collect();
        let mut reference = match &self.reference {
            Some(model) => Some(self.learner().score_with(model.as_ref(), &flat)?.into_iter()),
            None => None,
        };
        let responses = groups.iter().flat_map(|g| g.rollouts.iter().zip(&g.verdicts));
        let step = RewardStatistics::of(responses.map(|(rollout, verdict)| (rollout.tokens.len(), verdict.reward)));
        let mut all: Vec<TrajectoryGroup> =
            groups.iter().zip(&scored).map(|(group, scores)| trajectories(group, scores, step)).collect();
        let dependency = DependencyRange::of(all.iter().flat_map(|group| &group.trajectories));
        for group in &mut all {
            group.dependency = dependency;
        }
        let cap = self.spec.rollout.correction_cap;
        let mut weights = Vec::with_capacity(groups.len());
        for (((group, rows), scores), seen) in groups.iter().zip(&mut rows).zip(&scored).zip(&all) {
            let found = self.algorithm.weigh(seen)?;
            let parts = rows.iter_mut().zip(scores).zip(&found.trajectories).zip(&group.rollouts);
            for (((row, score), weight), rollout) in parts {
                row.old_logprobs.clone_from(&score.logprobs);
                row.advantages.clone_from(&weight.shaped_advantage);
                row.correction = cap.map(|cap| correction(&score.logprobs, &rollout.logprobs, cap));
                row.reference_logprobs = reference.as_mut().and_then(Iterator::next).map(|s| s.logprobs);
            }
            weights.push(found);
        }
        Ok(Weighed { rows, scored, weights, dependency })
    }

    /// A prompt's images with patches hidden, where the objective looks at them. The stream depends on seed and position
    /// only, so a resumed run hides the same ones.
    fn masked_images(&self, group: &Group) -> Option<Vec<Arc<ImagePatches>>> {
        let view = self.algorithm.masked_view()?;
        let images = &group.prompt.sequence.images;
        let mut rng = stream(&[self.spec.seed, MASK_STREAM, group.prompt.cursor]);
        (!images.is_empty()).then(|| hide_at_random(images, view.ratio, &mut rng))
    }

    /// Passes over the step's groups in mini-batches, one update each; what the last mini-batch's pass saw of each row.
    fn learn(&mut self, weighed: &Weighed, metrics: &mut Metrics) -> Result<Vec<Scored>, TrainError> {
        let (mut losses, mut policy_losses, mut norms, mut padding) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut rate, mut seen) = (0.0, Vec::new());
        let mut stats = LossStats::default();
        for _ in 0..self.spec.batch.epochs_per_batch {
            for minibatch in weighed.rows.chunks(self.spec.batch.minibatch_prompts as usize) {
                let rows: Vec<&TrainRow> = minibatch.iter().flatten().collect();
                let output = self.learner().gradients(&rows, self.algorithm.as_ref())?;
                stats.merge(&output.stats);
                seen = output.scored;
                losses.push(output.loss);
                policy_losses.push(output.policy_loss);
                padding.push(output.padding_share);
                let (norm, used) = self.update(&output.gradients)?;
                norms.push(norm);
                rate = used;
            }
        }
        metrics.set("loss/policy", mean(&policy_losses));
        metrics.set("loss/total", mean(&losses));
        metrics.set("policy/kl", stats.approx_kl());
        if self.algorithm.uses_reference() {
            metrics.set("policy/reference_kl", stats.reference_kl());
        }
        metrics.set("policy/clip_fraction_low", stats.clip_fraction_low());
        metrics.set("policy/clip_fraction_high", stats.clip_fraction_high());
        metrics.set("batch/padding_share", mean(&padding));
        metrics.set("policy/dual_clip_fraction", stats.dual_clip_fraction());
        if stats.masked_tokens > 0 {
            metrics.set("policy/perception_kl", stats.perception_kl());
            metrics.set("policy/masked_surprise", stats.masked_surprise());
        }
        metrics.set("optimizer/grad_norm", mean(&norms));
        metrics.set("optimizer/learning_rate", rate);
        Ok(seen)
    }

    fn log_samples(&mut self, groups: &[Group], weighed: &Weighed) -> Result<(), TrainError> {
        let step = self.state.step + 1;
        let every = self.spec.log_samples_every;
        if every == 0 || !(step == 1 || step.is_multiple_of(every)) {
            return Ok(());
        }
        let mut out = Vec::new();
        for (index, group) in groups.iter().take(LOGGED_GROUPS).enumerate() {
            let weights = &weighed.weights[index].trajectories;
            let logprobs = weighed.scored[index].iter().map(|s| s.logprobs.as_slice());
            let parts = group.rollouts.iter().zip(&group.verdicts).zip(weights).zip(logprobs);
            let parts = parts.map(|(((rollout, verdict), weights), logprobs)| (rollout, verdict, weights, logprobs));
            out.push(samples::trained(self.source.processor(), &group.prompt, parts)?);
        }
        Ok(self.sink.samples(step, &out)?)
    }
}

/// Metrics over what the update sees.
fn describe(groups: &[Group], weighed: &Weighed, metrics: &mut Metrics) {
    let advantages: Vec<f64> =
        weighed.weights.iter().flat_map(|g| g.trajectories.iter().map(|t| t.advantage)).collect();
    metrics.spread("advantage", &advantages);
    let mut ratios = RolloutRatios::default();
    for (score, rollout) in weighed.scored.iter().flatten().zip(groups.iter().flat_map(|g| &g.rollouts)) {
        ratios.add(&score.logprobs, &rollout.logprobs);
    }
    ratios.describe(metrics);
    let entropy: Vec<f64> = weighed.scored.iter().flatten().flat_map(|s| s.entropy.iter().copied()).collect();
    metrics.set("policy/entropy", mean(&entropy));
    if let Some(DependencyRange { low, high, mean }) = weighed.dependency {
        metrics.set("visual/dependency_min", low);
        metrics.set("visual/dependency_mean", mean);
        metrics.set("visual/dependency_max", high);
    }
    for (key, value) in VisualSignals::of(&weighed.weights).metrics() {
        metrics.set(key, value);
    }
}

/// The group as the objective sees it.
fn trajectories(group: &Group, scores: &[Scored], step: RewardStatistics) -> TrajectoryGroup {
    let trajectory = |((score, rollout), verdict): ((&Scored, &Rollout), &Verdict)| Trajectory {
        tokens: rollout.tokens.len(),
        similarity: score.similarity.clone(),
        dependency: score.dependency.clone(),
        reward: verdict.reward,
    };
    TrajectoryGroup {
        has_image: !group.prompt.sequence.images.is_empty(),
        precision: ScorePrecision::F32,
        step: Some(step),
        dependency: None,
        trajectories: scores.iter().zip(&group.rollouts).zip(&group.verdicts).map(trajectory).collect(),
    }
}
