//! One reinforcement step, as in arXiv 2604.09349: sample groups, compute their rewards, filter them, measure the
//! visual focus of every token under the old policy, shape the advantages, update.
//!
//! A step of one update trains the policy that sampled, so the update's own forward pass gives the old log-probs too
//! (the ratio is 1), and the visual similarity of each token was measured while sampling. Only steps of several
//! updates, and objectives that need more than that, run one more forward pass before the first update.

use std::ops::ControlFlow;

use crate::algorithm::DependencyRange;
use crate::algorithm::signals::VisualSignals;
use crate::clock::Stopwatch;

use super::correction::RolloutRatios;
use super::error::TrainError;
use super::gather::Gathered;
use super::group::{Group, responses, responses_mut, sequences};
use super::learner::Scored;
use super::metrics::{Metrics, mean};
use super::samples;
use super::step::Updates;
use super::trainer::{StepEnd, Trainer};

/// Most groups that are logged with every token.
const LOGGED_GROUPS: usize = 4;

impl Trainer<'_> {
    pub(super) fn reinforcement_step(&mut self) -> Result<StepEnd, TrainError> {
        let clock = Stopwatch::start();
        if let ControlFlow::Break(stop) = self.publish()? {
            return Ok(ControlFlow::Break(stop));
        }
        let publishing = clock.seconds();
        let Gathered { mut kept, dropped, mut metrics } = match self.gather()? {
            ControlFlow::Continue(gathered) => gathered,
            ControlFlow::Break(stop) => return Ok(ControlFlow::Break(stop)),
        };
        if !self.spec.rollout.engine.is_local() {
            metrics.set("time/publish", publishing);
        }
        metrics.set("groups/kept", kept.len() as f64);
        metrics.set("groups/dropped", dropped as f64);
        if kept.is_empty() {
            return Ok(ControlFlow::Continue(metrics));
        }
        let clock = Stopwatch::start();
        let dependency = self.step.weigh(&mut kept, self.state.step)?;
        metrics.set("time/logprob", clock.seconds());
        self.check_drift(&kept)?;
        if let ControlFlow::Break(stop) = self.sink.control().flow() {
            return Ok(ControlFlow::Break(stop));
        }
        let clock = Stopwatch::start();
        let scored = self.learn(&kept, &mut metrics)?;
        metrics.set("time/update", clock.seconds());
        if self.step.scores_in_update() {
            for (response, score) in responses_mut(&mut kept).zip(scored) {
                response.score.logprobs = score.logprobs;
                response.score.entropy = score.entropy;
            }
        }
        describe(&kept, dependency, &mut metrics);
        if self.spec.rollout.mask_truncated {
            let ignored: Vec<f64> =
                responses(&kept).map(|response| f64::from(u8::from(response.sequence.ignored))).collect();
            metrics.set("batch/masked_share", mean(&ignored));
        }
        self.log_samples(&kept)?;
        Ok(ControlFlow::Continue(metrics))
    }

    /// Passes over the step's groups in mini-batches, one update each. Returns the scores of each response in the pass
    /// of the last mini-batch.
    fn learn(&mut self, groups: &[Group], metrics: &mut Metrics) -> Result<Vec<Scored>, TrainError> {
        let (mut updates, mut scored) = (Updates::default(), Vec::new());
        for _ in 0..self.spec.batch.epochs_per_batch {
            for minibatch in groups.chunks(self.spec.batch.minibatch_prompts as usize) {
                scored = self.step.update(&sequences(minibatch), self.state.step + 1, &mut updates)?;
            }
        }
        updates.describe(metrics);
        metrics.set("loss/total", updates.total_loss());
        let stats = &updates.stats;
        metrics.set("policy/kl", stats.approx_kl());
        if self.step.algorithm.needs().reference {
            metrics.set("policy/reference_kl", stats.reference_kl());
        }
        metrics.set("policy/clip_fraction_low", stats.clip_fraction_low());
        metrics.set("policy/clip_fraction_high", stats.clip_fraction_high());
        metrics.set("policy/dual_clip_fraction", stats.dual_clip_fraction());
        if stats.masked_tokens > 0 {
            metrics.set("policy/perception_kl", stats.perception_kl());
            metrics.set("policy/masked_surprise", stats.masked_surprise());
        }
        Ok(scored)
    }

    fn log_samples(&mut self, groups: &[Group]) -> Result<(), TrainError> {
        let step = self.state.step + 1;
        let every = self.spec.log_samples_every;
        if every == 0 || !(step == 1 || step.is_multiple_of(every)) || !self.step.ranks.is_first() {
            return Ok(());
        }
        let processor = self.step.source.processor();
        let logged = groups.iter().take(LOGGED_GROUPS).map(|group| samples::trained(processor, group));
        Ok(self.sink.samples(step, &logged.collect::<Result<Vec<_>, _>>()?)?)
    }
}

/// Metrics over the groups that are trained on.
fn describe(groups: &[Group], dependency: Option<DependencyRange>, metrics: &mut Metrics) {
    let advantages: Vec<f64> = responses(groups).map(|response| response.weights.advantage).collect();
    metrics.spread("advantage", &advantages);
    let mut ratios = RolloutRatios::default();
    for response in responses(groups) {
        ratios.add(&response.score.logprobs, &response.rollout.logprobs);
    }
    ratios.describe(metrics);
    let entropy: Vec<f64> = responses(groups).flat_map(|response| response.score.entropy.iter().copied()).collect();
    metrics.set("policy/entropy", mean(&entropy));
    if let Some(DependencyRange { low, high, mean }) = dependency {
        metrics.set("visual/dependency_min", low);
        metrics.set("visual/dependency_mean", mean);
        metrics.set("visual/dependency_max", high);
    }
    let mut signals = VisualSignals::default();
    for group in groups.iter().filter(|group| group.has_image()) {
        group.responses.iter().for_each(|response| signals.add(&response.weights));
    }
    for (key, value) in signals.summary().metrics() {
        metrics.set(key, value);
    }
}
