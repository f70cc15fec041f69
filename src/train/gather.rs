//! The first half of a reinforcement step: sample groups, compute their rewards, filter them.

use std::ops::ControlFlow;

use crate::clock::Stopwatch;
use crate::domain::spec::{DapoSpec, Method};
use crate::reward::{Verdict, overlong_share};

use super::error::TrainError;
use super::group::{Group, Sampled, responses, responses_mut};
use super::metrics::{AttentionSummary, Metrics};
use super::rollout::Rollout;
use super::sink::Control;
use super::trainer::Trainer;

/// The groups of a step: those to learn from, how many were dropped, and metrics over all that were sampled.
pub(super) struct Gathered {
    pub(super) kept: Vec<Group>,
    pub(super) dropped: usize,
    pub(super) metrics: Metrics,
}

impl Trainer<'_> {
    /// Samples batches of prompts until enough groups pass the filter, or its tries are used up. Stops where the run is
    /// asked to stop.
    pub(super) fn gather(&mut self) -> Result<ControlFlow<Control, Gathered>, TrainError> {
        let wanted = self.spec.batch.prompts_per_step as usize;
        let filter = self.spec.rollout.filter.clone();
        let tries = filter.as_ref().map_or(1, |f| f.max_tries.max(1));
        let mut all: Vec<Group> = Vec::new();
        let (mut rollout_seconds, mut reward_seconds) = (0.0, 0.0);
        for attempt in 0..tries {
            if let ControlFlow::Break(stop) = self.sink.control().flow() {
                return Ok(ControlFlow::Break(stop));
            }
            let clock = Stopwatch::start();
            let sampled = match self.next_batch()? {
                ControlFlow::Continue(sampled) => sampled,
                ControlFlow::Break(stop) => return Ok(ControlFlow::Break(stop)),
            };
            rollout_seconds += clock.seconds();
            let clock = Stopwatch::start();
            all.extend(self.compute_rewards(sampled, attempt)?);
            reward_seconds += clock.seconds();
            if all.iter().filter(|group| group.passes(filter.as_ref())).count() >= wanted {
                break;
            }
        }
        let mut metrics = self.describe_sampling(&all);
        let rewards: Vec<f64> = responses(&all).map(|response| response.verdict.reward).collect();
        self.check_constant_reward(&rewards)?;
        self.report_unjudged(all.iter().map(|group| group.unjudged).sum(), &mut metrics)?;
        metrics.set("time/rollout", rollout_seconds);
        metrics.set("time/reward", reward_seconds);
        self.describe_engine(&all, &mut metrics);
        let sampled = all.len();
        let passing = all.into_iter().filter(|group| group.passes(filter.as_ref()));
        let kept: Vec<Group> = passing.take(wanted).collect();
        Ok(ControlFlow::Continue(Gathered { dropped: sampled - kept.len(), kept, metrics }))
    }

    fn compute_rewards(&self, sampled: Vec<Sampled>, attempt: u64) -> Result<Vec<Group>, TrainError> {
        let part = attempt.to_string();
        let processor = self.step.source.processor();
        let mut groups =
            self.step.ranks.rewards(&self.reward_context(processor, self.state.step + 1, &part), sampled)?;
        if let Method::Dapo(DapoSpec { overlong_buffer: Some(buffer), overlong_penalty, .. }) = self.spec.method {
            for response in responses_mut(&mut groups) {
                let tokens = response.rollout.tokens.len() as u64;
                // DAPO's soft penalty on responses that come near the length limit.
                let share = overlong_share(tokens, self.spec.rollout.max_new_tokens, buffer);
                response.verdict.add("overlong", -overlong_penalty * share);
            }
        }
        Ok(groups)
    }

    /// Emits a warning where the reward gave no verdict on some responses.
    fn report_unjudged(&mut self, unjudged: usize, metrics: &mut Metrics) -> Result<(), TrainError> {
        if unjudged > 0 {
            metrics.set("reward/unjudged", unjudged as f64);
            let step = self.state.step + 1;
            let message =
                format!("step {step}: the reward gave no verdict on {unjudged} response(s); they left their groups");
            self.sink.event(
                "warning.unjudged",
                &message,
                serde_json::json!({ "step": step, "responses": unjudged }),
            )?;
        }
        Ok(())
    }

    /// Metrics over everything that was sampled, dropped groups included.
    fn describe_sampling(&mut self, groups: &[Group]) -> Metrics {
        let rollouts: Vec<&Rollout> = responses(groups).map(|response| &response.rollout).collect();
        let verdicts: Vec<&Verdict> = responses(groups).map(|response| &response.verdict).collect();
        let tokens: usize = rollouts.iter().map(|r| r.tokens.len()).sum();
        self.state.samples += rollouts.len() as u64;
        self.state.tokens += tokens as u64;
        let mut metrics = Metrics::default();
        metrics.set("response_tokens", tokens as f64);
        metrics.rewards(&verdicts);
        metrics.lengths(&rollouts);
        let mut attention = AttentionSummary::default();
        for rollout in &rollouts {
            attention.add(&rollout.attention);
        }
        // Engines on other servers do not tell it.
        if self.spec.rollout.engine.is_local() {
            metrics.attention(&attention);
        }
        metrics
    }
}
