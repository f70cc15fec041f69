//! The training loop: step, metrics, evaluation, checkpoint. The steps are in `reinforcement.rs` and `supervised.rs`,
//! the evaluation is in `evaluation.rs`.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::clock::Stopwatch;
use crate::data::Split;
use crate::domain::metric::{EVAL_ACCURACY, StepMetrics};
use crate::domain::spec::{JobSpec, Method};
use crate::model::lora::peft::BaseModel;
use crate::prompt::Processor;

use super::ahead::Foreign;
use super::checkpoint::{self, Checkpoints, TrainerState};
use super::early_stop::EarlyStopState;
use super::error::TrainError;
use super::metrics::Metrics;
use super::model_files::ModelFiles;
use super::order::RowOrder;
use super::ranks::Ranks;
use super::rewards::RewardContext;
use super::sink::{CheckpointNotice, Control, RunSink};
use super::source::{Prompt, PromptSource};
use super::step::{Outside, TrainingStep};
use super::{RunEnd, TrainRequest, process_memory};

/// After this number of steps without any difference in reward a warning is raised.
const CONSTANT_REWARD_STEPS: u64 = 3;

/// A run in progress: its progress, its sink and its checkpoints. What learns is in [`TrainingStep`].
pub struct Trainer<'s> {
    pub(super) spec: Arc<JobSpec>,
    pub(super) step: TrainingStep,
    pub(super) state: TrainerState,
    pub(super) sink: &'s mut dyn RunSink,
    run: String,
    pub(super) order: RowOrder,
    pub(super) held_out: PromptSource,
    pub(super) checkpoints: Checkpoints,
    measured: Measured,
    pub(super) foreign: Foreign,
}

/// The folder itself, for adapters over a model that comes from no repository.
fn base_in(model_dir: &Path) -> BaseModel {
    let path = std::path::absolute(model_dir).unwrap_or_else(|_| model_dir.to_owned());
    BaseModel { name: path.display().to_string(), revision: None }
}

/// What was measured.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    /// Held-out accuracy of the last evaluation.
    last_accuracy: Option<f64>,
    /// The step of the newest scores.
    step: u64,
    /// What belongs to a checkpoint of that step.
    scores: CheckpointScores,
}

/// What was measured at a step and belongs to a checkpoint of that step.
#[derive(Debug, Clone, Copy, Default)]
struct CheckpointScores {
    accuracy: Option<f64>,
    score: Option<f64>,
}

/// How a step ended: the weights were updated, or the run was asked to stop before that.
pub(super) type StepEnd = ControlFlow<Control, Metrics>;

impl<'s> Trainer<'s> {
    /// Loads model, data and, when resuming, the trainer's state.
    pub(super) fn new(
        request: TrainRequest,
        sink: &'s mut dyn RunSink,
        ranks: &Arc<Ranks>,
    ) -> Result<Self, TrainError> {
        let TrainRequest {
            spec,
            model_dir,
            device,
            dataset,
            eval_dataset,
            work_dir,
            run,
            rewards,
            base,
            resume,
            room,
            engines,
            ..
        } = request;
        let spec = Arc::new(spec);
        let fingerprint = dataset.fingerprint();
        let from = resume.as_ref().map(|point| point.dir.as_path());
        let (rewards, engines, ranks) = (&rewards, &engines, Arc::clone(ranks));
        let outside = Outside { rewards, engines, room, sink: &*sink, ranks };
        let mut step = TrainingStep::open(Arc::clone(&spec), &model_dir, from, device, dataset, outside)?;
        if let Some(sums) = step.ranks.sums_in_words() {
            sink.progress(&sums);
        }
        let model = &step.policy.tracked;
        let (processor, room) = (step.source.shared_processor(), spec.rollout.max_new_tokens);
        let held_out = PromptSource::new(processor, eval_dataset, Split::Eval, &spec.data, model.info(), room)?;
        let state = match &resume {
            Some(point) => checkpoint::resume(&point.dir, &mut step.optimizer, model.device(), &spec, &fingerprint)?,
            None => TrainerState { seed: spec.seed, dataset: fingerprint, ..TrainerState::default() },
        };
        step.ranks.same("the data set", &state.dataset)?;
        step.ranks.same("the step to begin at", &state.step.to_string())?;
        step.ranks.compare(step.policy.folder.parameters(), 0)?;
        let checkpoints = Checkpoints {
            files: ModelFiles::read(step.policy.folder.dir())?,
            base: base.unwrap_or_else(|| base_in(&model_dir)),
            work_dir,
            newest: resume.map(|point| point.step),
        };
        let order = RowOrder::new(step.source.rows(), spec.seed, spec.data.shuffle);
        Ok(Self {
            spec,
            step,
            state,
            sink,
            run,
            order,
            held_out,
            checkpoints,
            measured: Measured::default(),
            foreign: Foreign::default(),
        })
    }

    /// Runs to the end of the job, or until it is asked to stop.
    pub fn run(mut self) -> Result<RunEnd, TrainError> {
        if let ControlFlow::Break(control) = self.evaluate_first()? {
            return self.stop(control);
        }
        while !self.at_end() {
            let clock = Stopwatch::start();
            self.step.pool.reporter().begin();
            let before = self.state.clone();
            match self.take_step() {
                Ok(ControlFlow::Continue(metrics)) => {
                    if let ControlFlow::Break(control) = self.finish_step(metrics, &clock)? {
                        return self.stop(control);
                    }
                }
                Ok(ControlFlow::Break(control)) | Err(TrainError::Stopped(control)) => {
                    // Nothing of the unfinished step may reach the checkpoint.
                    self.state = before;
                    return self.stop(control);
                }
                Err(error) => {
                    self.state = before;
                    return Err(self.save_before_failing(error));
                }
            }
            match self.sink.control() {
                Control::Continue => {}
                control if !self.at_end() => return self.stop(control),
                _ => {}
            }
        }
        Ok(RunEnd::Finished { accuracy: self.measured.last_accuracy, stopped_early: self.stopped_early() })
    }

    /// Evaluates what the run begins with: the model itself, or a checkpoint that was written before its evaluation.
    fn evaluate_first(&mut self) -> Result<ControlFlow<Control>, TrainError> {
        let begun = self.state.step > 0;
        if !(if begun { self.state.evaluation_due } else { self.spec.eval_before }) {
            return Ok(ControlFlow::Continue(()));
        }
        let metrics = match self.evaluate() {
            Ok(metrics) => metrics,
            Err(TrainError::Stopped(control)) => return Ok(ControlFlow::Break(control)),
            Err(error) => return Err(error),
        };
        self.state.evaluation_due = false;
        self.track(&metrics);
        self.emit(metrics)?;
        if begun {
            self.save()?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Where a row or an engine on other servers is at fault, writes the checkpoint of the last step first, so that the
    /// steps before it are not lost.
    fn save_before_failing(&mut self, error: TrainError) -> TrainError {
        let worth_saving = matches!(error, TrainError::Prompt { .. } | TrainError::Data(_) | TrainError::Engine(_));
        // The parts of an optimizer can only be put together by ranks that are all well.
        if worth_saving
            && !self.step.optimizer.is_part()
            && self.state.step > 0
            && self.checkpoints.newest != Some(self.state.step)
            && let Err(failed) = self.save()
        {
            tracing::warn!(error = %failed, "the checkpoint of the last step could not be written");
        }
        error
    }

    fn take_step(&mut self) -> Result<StepEnd, TrainError> {
        match self.spec.method {
            Method::Sft(_) => self.supervised_step(),
            _ => self.reinforcement_step(),
        }
    }

    /// Counts and measures the step. The run may be asked to stop before it has been evaluated: then the evaluation is
    /// the first thing that it does when it resumes.
    fn finish_step(&mut self, mut metrics: Metrics, clock: &Stopwatch) -> Result<ControlFlow<Control>, TrainError> {
        self.state.step += 1;
        let step = self.state.step;
        let seconds = clock.seconds();
        metrics.set("time/step", seconds);
        metrics.set("throughput/tokens_per_second", metrics.get("response_tokens") / seconds.max(1e-9));
        metrics.remove("response_tokens");
        if let Some(bytes) = process_memory::peak_bytes() {
            metrics.set("memory/peak_bytes", bytes as f64);
        }
        self.step.ranks.describe(&mut metrics);
        let mut metrics = self.step.ranks.agree(metrics)?;
        self.step.ranks.compare(self.step.policy.folder.parameters(), step)?;
        self.track(&metrics);
        let due = |every: u64| every > 0 && step.is_multiple_of(every);
        if self.at_end() || due(self.spec.eval_every) {
            match self.evaluate() {
                Ok(evaluation) => {
                    self.track(&evaluation);
                    metrics.extend(evaluation);
                }
                Err(TrainError::Stopped(control)) => {
                    self.emit(metrics)?;
                    self.state.evaluation_due = true;
                    return Ok(ControlFlow::Break(control));
                }
                Err(error) => {
                    // The step does not depend on the rows that it is evaluated with.
                    self.emit(metrics)?;
                    self.save()?;
                    return Err(error);
                }
            }
        }
        // The metrics go first: a run that dies after its checkpoint must not miss the metrics of the checkpoint's
        // step.
        self.emit(metrics)?;
        if self.at_end() || due(self.spec.checkpoint_every) {
            let clock = Stopwatch::start();
            self.report_early_stop()?;
            self.save()?;
            let mut metrics = Metrics::default();
            metrics.set("time/checkpoint", clock.seconds());
            self.emit(metrics)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn emit(&mut self, metrics: Metrics) -> Result<(), TrainError> {
        let point = StepMetrics {
            step: self.state.step,
            samples: self.state.samples,
            tokens: self.state.tokens,
            values: metrics.into_values(),
        };
        Ok(self.sink.metrics(&point)?)
    }

    fn at_end(&self) -> bool {
        self.state.step >= self.spec.steps || self.stopped_early().is_some()
    }

    /// Why the run ends before its last step, if it does.
    fn stopped_early(&self) -> Option<String> {
        let early = self.state.step < self.spec.steps;
        self.spec.early_stop.as_ref().filter(|_| early).and_then(|spec| self.state.watch.reason(spec))
    }

    /// Keeps what was measured at this step for its checkpoint and for early stopping.
    fn track(&mut self, metrics: &Metrics) {
        let (step, measured) = (self.state.step, &mut self.measured);
        if measured.step != step {
            (measured.step, measured.scores) = (step, CheckpointScores::default());
        }
        let best = &self.spec.best;
        if let Some(value) = metrics.find(EVAL_ACCURACY) {
            (measured.last_accuracy, measured.scores.accuracy) = (Some(value), Some(value));
        }
        if let Some(value) = metrics.find(&best.metric).filter(|value| value.is_finite()) {
            measured.scores.score = Some(best.better.score(value));
        }
        if let Some(spec) = &self.spec.early_stop
            && let Some(value) = metrics.find(&spec.metric)
        {
            self.state.watch.observe(spec, step, value);
        }
    }

    /// Emits an event where the run ends before its last step.
    fn report_early_stop(&mut self) -> Result<(), TrainError> {
        let (Some(spec), Some(reason)) = (&self.spec.early_stop, self.stopped_early()) else { return Ok(()) };
        let EarlyStopState { best, best_step, .. } = self.state.watch;
        let step = self.state.step;
        let data = json!({ "step": step, "metric": spec.metric, "best": best, "best_step": best_step });
        Ok(self.sink.event("early_stop", &format!("stopped early at step {step}: {reason}"), data)?)
    }

    fn stop(&mut self, control: Control) -> Result<RunEnd, TrainError> {
        if control == Control::Cancel {
            return Ok(RunEnd::Cancelled);
        }
        if self.state.step > 0 && self.checkpoints.newest != Some(self.state.step) {
            self.save()?;
        }
        Ok(RunEnd::Yielded)
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let step = self.state.step;
        let optimizer = self.step.ranks.whole(&self.step.optimizer, self.step.policy.folder.parameters())?;
        if !self.step.ranks.is_first() {
            self.checkpoints.newest = Some(step);
            return Ok(());
        }
        let dir = self.checkpoints.write(&self.step, &self.state, optimizer)?;
        let CheckpointScores { accuracy, score } =
            if self.measured.step == step { self.measured.scores } else { CheckpointScores::default() };
        self.sink.checkpoint(CheckpointNotice { step, dir: &dir, accuracy, score, last: self.at_end() })?;
        self.checkpoints.newest = Some(step);
        Ok(())
    }

    /// The prompts of the next step, or of another try of this one.
    pub(super) fn next_prompts(&mut self) -> Result<Vec<Prompt>, TrainError> {
        let count = self.spec.batch.prompts_per_step;
        self.step.source.next_prompts(&self.order, &mut self.state.cursor, count)
    }

    /// The reward function for responses of step `step`; `part` names the batch within it.
    pub(super) fn reward_context<'a>(
        &'a self,
        processor: &'a Processor,
        step: u64,
        part: &'a str,
    ) -> RewardContext<'a> {
        RewardContext { reward: self.step.reward.as_ref(), processor, run: &self.run, step, part }
    }

    /// Raises a warning when every response so far got the same reward, from which nothing can be learned.
    pub(super) fn check_constant_reward(&mut self, rewards: &[f64]) -> Result<(), TrainError> {
        let Some(first) = rewards.first() else { return Ok(()) };
        let begun = self.state.step > 0;
        let constant = self.state.constant_reward.filter(|_| begun).unwrap_or(*first);
        let unchanged = begun == self.state.constant_reward.is_some() && rewards.iter().all(|r| *r == constant);
        self.state.constant_reward = unchanged.then_some(constant);
        if unchanged && self.state.step + 1 == CONSTANT_REWARD_STEPS {
            let message = format!(
                "every response of the first {CONSTANT_REWARD_STEPS} steps got the reward {constant}: nothing can be \
                 learned from that. Check `reward` and the form of the answers with a few responses"
            );
            self.sink.event("warning.constant_reward", &message, json!({ "reward": constant }))?;
        }
        Ok(())
    }
}
