//! Calls of the engine that samples. One on other servers may have to wait, so it is called on a thread of its own, and
//! a run that is asked to stop stops.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use super::ahead::Ahead;
use super::correction::RolloutRatios;
use super::engine::{RolloutEngine, Stop};
use super::engine_error::EngineError;
use super::error::TrainError;
use super::group::{Group, Sampled, responses};
use super::metrics::{Metrics, mean};
use super::publication::Publication;
use super::sink::{Control, RunSink};
use super::source::Prompt;
use super::trainer::Trainer;

/// Pause between two questions to the sink while an engine works.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Mean KL from sampler to trainer from which on a run is warned.
const DRIFT: f64 = 0.02;
/// Mean KL from which on the servers must have other weights than those that were published for this step.
const MOST_DRIFT: f64 = 0.5;

/// What was asked for, or the request to stop that came before it.
type Answered<T> = Result<ControlFlow<Control, T>, TrainError>;

impl Trainer<'_> {
    /// Hands the weights as they are to the engine.
    pub(super) fn publish(&mut self) -> Answered<()> {
        if self.spec.rollout.engine.is_local() {
            return Ok(ControlFlow::Continue(()));
        }
        let weights = Publication {
            parameters: self.step.policy.folder.parameters(),
            files: &self.checkpoints.files,
            base: &self.checkpoints.base,
            data: &self.spec.data,
        };
        let (engine, version) = (self.step.engine.as_ref(), self.state.step);
        watched(self.sink, engine, |engine, stop| engine.publish(&weights, version, stop))
    }

    /// Samples a group of responses to every prompt.
    pub(super) fn sample(&mut self, prompts: Vec<Prompt>) -> Answered<Vec<Sampled>> {
        let (engine, settings) = (self.step.engine.as_ref(), self.step.sampling());
        if self.spec.rollout.engine.is_local() {
            return engine.sample(prompts, &settings, &Stop::default()).map(ControlFlow::Continue);
        }
        watched(self.sink, engine, |engine, stop| engine.sample(prompts, &settings, stop))
    }
}

impl Trainer<'_> {
    /// Metrics of engines on other servers: how old the weights were that sampled, and how long none answered.
    pub(super) fn describe_engine(&self, groups: &[Group], metrics: &mut Metrics) {
        if self.spec.rollout.engine.is_local() {
            return;
        }
        let lags: Vec<f64> = groups.iter().map(|group| self.lag(group) as f64).collect();
        metrics.set("rollout/version_lag", mean(&lags));
        metrics.set("time/rollout_wait", self.step.engine.waited());
    }

    fn lag(&self, group: &Group) -> u64 {
        self.state.step - group.version.unwrap_or(self.state.step).min(self.state.step)
    }

    /// Compares the log-probs of sampler and trainer. Emits a warning where they differ more than rounding explains,
    /// and fails where the servers cannot have the weights that were published.
    pub(super) fn check_drift(&mut self, groups: &[Group]) -> Result<(), TrainError> {
        if self.spec.rollout.engine.is_local() {
            return Ok(());
        }
        let mut ratios = RolloutRatios::default();
        for response in responses(groups) {
            ratios.add(&response.score.logprobs, &response.rollout.logprobs);
        }
        let (kl, step) = (ratios.kl(), self.state.step + 1);
        if kl.abs() > MOST_DRIFT && groups.iter().all(|group| self.lag(group) == 0) {
            return Err(EngineError::OtherWeights { step, kl }.into());
        }
        if kl.abs() > DRIFT && !self.foreign.drift_reported {
            self.foreign.drift_reported = true;
            let message = format!(
                "step {step}: the probabilities of sampler and trainer differ (mean KL {kl:.4}, more than {DRIFT}): \
                 serve the model in the number format that it is trained in, and lower `rollout.engine.staleness`"
            );
            self.sink.event("warning.rollout_drift", &message, json!({ "step": step, "kl": kl }))?;
        }
        Ok(())
    }
}

impl Trainer<'_> {
    /// The next batch of prompts with their responses.
    ///
    /// With `staleness`, it was begun before, and the next ones are begun now, with the weights as they are. Their
    /// prompts count as read only when they are trained on, so that a resumed run reads them again.
    pub(super) fn next_batch(&mut self) -> Answered<Vec<Sampled>> {
        let depth = self.spec.rollout.engine.staleness as usize;
        if depth == 0 {
            let prompts = self.next_prompts()?;
            return self.sample(prompts);
        }
        if self.foreign.ahead.is_empty() {
            self.begin_ahead()?;
        }
        let Some(mut next) = self.foreign.ahead.pop_front() else {
            return Err(TrainError::Thread("no batch was begun".to_owned()));
        };
        while next.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if let ControlFlow::Break(control) = self.sink.control().flow() {
                return Ok(ControlFlow::Break(control));
            }
            std::thread::sleep(ASK_EVERY);
        }
        let result = next.thread.take().map(JoinHandle::join);
        let sampled = match result {
            Some(Ok(sampled)) => sampled?,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => return Err(TrainError::Thread("a batch was taken twice".to_owned())),
        };
        self.state.cursor = next.cursor;
        let later_steps = self.spec.steps.saturating_sub(self.state.step + 1) as usize;
        while self.foreign.ahead.len() < depth.min(later_steps) {
            self.begin_ahead()?;
        }
        Ok(ControlFlow::Continue(sampled))
    }

    /// Begins to sample the prompts after those that are being sampled.
    fn begin_ahead(&mut self) -> Result<(), TrainError> {
        let mut cursor = self.foreign.ahead.back().map_or(self.state.cursor, |last| last.cursor);
        let count = self.spec.batch.prompts_per_step;
        let prompts = self.step.source.next_prompts(&self.order, &mut cursor, count)?;
        let (engine, settings, stop) = (Arc::clone(&self.step.engine), self.step.sampling(), Stop::default());
        let stopped = stop.clone();
        let work = move || engine.sample(prompts, &settings, &stopped);
        let thread = std::thread::Builder::new().name("rollout".to_owned()).spawn(work);
        let thread = Some(thread.map_err(|error| TrainError::Thread(error.to_string()))?);
        self.foreign.ahead.push_back(Ahead { cursor, stop, thread });
        Ok(())
    }
}

/// `call`, which is told to stop when the sink asks for that.
fn watched<T: Send>(
    sink: &mut dyn RunSink,
    engine: &dyn RolloutEngine,
    call: impl FnOnce(&dyn RolloutEngine, &Stop) -> Result<T, TrainError> + Send,
) -> Answered<T> {
    let stop = Stop::default();
    let (done, result) = channel();
    std::thread::scope(|scope| {
        let stopped = stop.clone();
        let thread = scope.spawn(move || drop(done.send(call(engine, &stopped))));
        loop {
            match result.recv_timeout(ASK_EVERY) {
                Ok(result) => return result.map(ControlFlow::Continue),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return match thread.join() {
                        Err(panic) => std::panic::resume_unwind(panic),
                        Ok(()) => Err(TrainError::Thread("the engine's thread ended without a result".to_owned())),
                    };
                }
            }
            if let ControlFlow::Break(control) = sink.control().flow() {
                stop.raise();
                return Ok(ControlFlow::Break(control));
            }
        }
    })
}
