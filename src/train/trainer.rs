//! The loop: step, metrics, evaluation, checkpoint. What a step does is in `step_rl.rs` and `step_sft.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::algorithm::{self, Algorithm};
use crate::clock::Stopwatch;
use crate::data::Split;
use crate::domain::metric::{EVAL_ACCURACY, StepMetrics};
use crate::domain::spec::{FocusPosition, JobSpec, Method};
use crate::model::device::open_device;
use crate::model::logprob::Vocabulary;
use crate::model::lora::peft::BaseModel;
use crate::model::{ModelFolder, VisionLanguageModel};
use crate::prompt::Processor;
use crate::reward::{self, Reward};

use super::checkpoint::{self, ModelFiles, TrainerState};
use super::error::{TrainError, file_error};
use super::evaluate::Evaluator;
use super::judge::Judge;
use super::learner::Learner;
use super::metrics::Metrics;
use super::micro_batch::Packing;
use super::optimizer::{AdamW, DecayScope, Gradients, learning_rate};
use super::order::RowOrder;
use super::parallel::Pool;
use super::policy::Policy;
use super::sink::{CheckpointNotice, Control, RunSink};
use super::source::{Prompt, PromptSource};
use super::stopping::Watch;
use super::{RunEnd, TrainRequest, memory};

/// So many overlong rows one after the other end the run: the limit does not fit the data set.
const MAX_SKIPPED: u64 = 10_000;
/// After so many steps without any difference in reward a warning is raised.
const CONSTANT_REWARD_STEPS: u64 = 3;

/// Names the batches of an evaluation among those of a step.
const EVALUATION: &str = "eval";

/// Does the method learn from demonstrations?
fn needs_demonstrations(method: &Method) -> bool {
    matches!(method, Method::Sft(_))
}

/// A run in progress.
pub struct Trainer<'s> {
    pub(super) spec: JobSpec,
    pub(super) pool: Pool,
    pub(super) folder: ModelFolder,
    pub(super) tracked: Arc<dyn VisionLanguageModel>,
    pub(super) detached: Arc<dyn VisionLanguageModel>,
    pub(super) reference: Option<Arc<dyn VisionLanguageModel>>,
    pub(super) algorithm: Box<dyn Algorithm>,
    pub(super) reward: Box<dyn Reward>,
    pub(super) run: String,
    pub(super) source: PromptSource,
    pub(super) state: TrainerState,
    pub(super) sink: &'s mut dyn RunSink,
    files: ModelFiles,
    base: BaseModel,
    held_out: PromptSource,
    order: RowOrder,
    optimizer: AdamW,
    work_dir: PathBuf,
    accuracy: Option<f64>,
    marks: Marks,
    saved_step: Option<u64>,
}

/// The folder itself, for adapters over a model that is in no repository.
fn base_in(model_dir: &Path) -> BaseModel {
    let path = std::path::absolute(model_dir).unwrap_or_else(|_| model_dir.to_owned());
    BaseModel { name: path.display().to_string(), revision: None }
}

/// What was measured at a step and belongs to a checkpoint of that step.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    step: u64,
    accuracy: Option<f64>,
    score: Option<f64>,
}

/// How a step ended.
pub(super) enum StepEnd {
    /// The weights were updated.
    Done(Metrics),
    /// Someone asked to stop before the update.
    Stopped(Control),
}

impl<'s> Trainer<'s> {
    /// Loads model, data and, when resuming, the trainer's state.
    pub fn new(request: TrainRequest, sink: &'s mut dyn RunSink) -> Result<Self, TrainError> {
        let TrainRequest {
            spec, model_dir, device, dataset, eval_dataset, work_dir, run, rewards, base, resume, ..
        } = request;
        let algorithm = algorithm::build(&spec.method)?;
        let device = open_device(device)?;
        let from = resume.as_ref().map(|point| point.dir.as_path());
        let Policy { folder, tracked, detached, reference } =
            Policy::open(&spec, &model_dir, from, &device, algorithm.uses_reference())?;
        let processor =
            Arc::new(Processor::from_dir(folder.dir(), tracked.info()).map_err(TrainError::PromptSettings)?);
        let reward = reward::build_with(&spec.reward, &rewards)?;
        if spec.method.is_reinforcement() {
            reward::check_filter(reward.as_ref(), spec.rollout.filter.as_ref())?;
        }
        let source = |dataset, split| {
            let processor = Arc::clone(&processor);
            PromptSource::new(processor, dataset, split, &spec.data, tracked.info(), spec.rollout.max_new_tokens)
        };
        let fingerprint = dataset.fingerprint();
        let source_train = source(dataset, Split::Train)?;
        let source_train = if needs_demonstrations(&spec.method) {
            source_train.with_demonstrations(tracked.info())
        } else {
            source_train
        };
        let held_out = source(eval_dataset, Split::Eval)?;
        let mut optimizer = AdamW::new(&spec.optimizer, DecayScope::Matrices);
        let state = match &resume {
            Some(point) => checkpoint::resume(&point.dir, &mut optimizer, &device, &spec, &fingerprint)?,
            None => TrainerState { seed: spec.seed, dataset: fingerprint, ..TrainerState::default() },
        };
        Ok(Self {
            order: RowOrder::new(source_train.rows(), spec.seed, spec.data.shuffle),
            reward,
            run,
            saved_step: resume.map(|point| point.step),
            source: source_train,
            accuracy: None,
            marks: Marks::default(),
            pool: Pool::for_device(&device)?,
            files: ModelFiles::read(folder.dir())?,
            base: base.unwrap_or_else(|| base_in(&model_dir)),
            spec,
            folder,
            tracked,
            detached,
            reference,
            algorithm,
            state,
            sink,
            held_out,
            optimizer,
            work_dir,
        })
    }

    /// Runs to the end of the job, or until someone asks to stop.
    pub fn run(mut self) -> Result<RunEnd, TrainError> {
        if self.state.step == 0 && self.spec.eval_before {
            let metrics = self.evaluate()?;
            self.watch(&metrics);
            self.emit(metrics)?;
        }
        while !self.at_end() {
            let clock = Stopwatch::start();
            let before = self.state.clone();
            match self.step() {
                Ok(StepEnd::Done(metrics)) => self.finish_step(metrics, &clock)?,
                Err(error) => {
                    self.state = before;
                    return Err(self.keep_despite(error));
                }
                Ok(StepEnd::Stopped(control)) => {
                    // Nothing of the unfinished step may reach the checkpoint.
                    self.state = before;
                    return self.stop(control);
                }
            }
            match self.sink.control() {
                Control::Continue => {}
                control if !self.at_end() => return self.stop(control),
                _ => {}
            }
        }
        Ok(RunEnd::Finished { accuracy: self.accuracy, stopped_early: self.stopped_early() })
    }

    /// Writes the checkpoint of the last step where a row is at fault: what was learnt before it came is not lost.
    fn keep_despite(&mut self, error: TrainError) -> TrainError {
        let of_row = matches!(error, TrainError::Prompt { .. } | TrainError::Data(_));
        if of_row
            && self.state.step > 0
            && self.saved_step != Some(self.state.step)
            && let Err(failed) = self.save()
        {
            tracing::warn!(error = %failed, "the checkpoint of the last step could not be written");
        }
        error
    }

    fn step(&mut self) -> Result<StepEnd, TrainError> {
        match self.spec.method {
            Method::Sft(_) => self.supervised_step(),
            _ => self.reinforcement_step(),
        }
    }

    fn finish_step(&mut self, mut metrics: Metrics, clock: &Stopwatch) -> Result<(), TrainError> {
        self.state.step += 1;
        let step = self.state.step;
        let seconds = clock.seconds();
        metrics.set("time/step", seconds);
        metrics.set("throughput/tokens_per_second", metrics.get("response_tokens") / seconds.max(1e-9));
        metrics.remove("response_tokens");
        if let Some(bytes) = memory::peak_bytes() {
            metrics.set("memory/peak_bytes", bytes as f64);
        }
        self.watch(&metrics);
        let due = |every: u64| every > 0 && step.is_multiple_of(every);
        if self.at_end() || due(self.spec.eval_every) {
            match self.evaluate() {
                Ok(evaluation) => {
                    self.watch(&evaluation);
                    metrics.extend(evaluation);
                }
                Err(error) => {
                    // What was learnt does not depend on what it is measured with.
                    self.emit(metrics)?;
                    self.save()?;
                    return Err(error);
                }
            }
        }
        // The metrics go first: a run that dies behind its checkpoint must not miss those of the checkpoint's step.
        self.emit(metrics)?;
        if self.at_end() || due(self.spec.checkpoint_every) {
            let clock = Stopwatch::start();
            self.tell_early_stop()?;
            self.save()?;
            let mut metrics = Metrics::default();
            metrics.set("time/checkpoint", clock.seconds());
            self.emit(metrics)?;
        }
        Ok(())
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
        self.spec.early_stop.as_ref().filter(|_| early).and_then(|spec| self.state.watch.verdict(spec))
    }

    /// Keeps what was measured at this step for its checkpoint and for early stopping.
    fn watch(&mut self, metrics: &Metrics) {
        let step = self.state.step;
        if self.marks.step != step {
            self.marks = Marks { step, ..Marks::default() };
        }
        let best = &self.spec.best;
        if let Some(value) = metrics.find(EVAL_ACCURACY) {
            (self.accuracy, self.marks.accuracy) = (Some(value), Some(value));
        }
        if let Some(value) = metrics.find(&best.metric).filter(|value| value.is_finite()) {
            self.marks.score = Some(best.better.score(value));
        }
        if let Some(spec) = &self.spec.early_stop
            && let Some(value) = metrics.find(&spec.metric)
        {
            self.state.watch.observe(spec, step, value);
        }
    }

    /// Says so where the run ends before its last step.
    fn tell_early_stop(&mut self) -> Result<(), TrainError> {
        let (Some(spec), Some(reason)) = (&self.spec.early_stop, self.stopped_early()) else { return Ok(()) };
        let Watch { best, best_step, .. } = self.state.watch;
        let step = self.state.step;
        let data = json!({ "step": step, "metric": spec.metric, "best": best, "best_step": best_step });
        Ok(self.sink.event("early_stop", &format!("stopped early at step {step}: {reason}"), data)?)
    }

    fn evaluate(&mut self) -> Result<Metrics, TrainError> {
        let clock = Stopwatch::start();
        let rows = self.spec.eval_rows.min(self.held_out.rows());
        if rows == 0 {
            return Ok(Metrics::default());
        }
        let (pool, model) = (&self.pool, self.detached.as_ref());
        let judge = self.judge(&self.held_out, EVALUATION);
        let result = Evaluator { pool, model, judge, spec: &self.spec }.evaluate()?;
        let mut metrics = result.metrics;
        metrics.set("time/evaluation", clock.seconds());
        if self.spec.log_samples_every > 0 {
            self.sink.samples(self.state.step, &result.samples)?;
        }
        Ok(metrics)
    }

    fn stop(&mut self, control: Control) -> Result<RunEnd, TrainError> {
        if control == Control::Cancel {
            return Ok(RunEnd::Cancelled);
        }
        if self.state.step > 0 && self.saved_step != Some(self.state.step) {
            self.save()?;
        }
        Ok(RunEnd::Yielded)
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let dir = self.work_dir.join(format!("step-{:08}", self.state.step));
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(file_error(&dir))?;
        }
        let (parameters, optimizer) = (self.folder.parameters(), &self.optimizer);
        checkpoint::write(&dir, &self.files, parameters, optimizer, &self.state, &self.spec, &self.base)?;
        let step = self.state.step;
        let Marks { accuracy, score, .. } = if self.marks.step == step { self.marks } else { Marks::default() };
        self.sink.checkpoint(CheckpointNotice { step, dir: &dir, accuracy, score, last: self.at_end() })?;
        self.saved_step = Some(self.state.step);
        Ok(())
    }

    /// The next `count` prompts of the row order. Rows that are too long are skipped where the job says so.
    pub(super) fn next_prompts(&mut self, count: u64) -> Result<Vec<Prompt>, TrainError> {
        let mut prompts = Vec::with_capacity(count as usize);
        let mut skipped = 0;
        while (prompts.len() as u64) < count {
            let cursor = self.state.cursor;
            self.state.cursor += 1;
            match self.source.prompt(cursor, self.order.row(cursor))? {
                Some(prompt) => prompts.push(prompt),
                None => skipped += 1,
            }
            if skipped >= self.source.rows().min(MAX_SKIPPED) {
                return Err(TrainError::Setting {
                    field: "data.max_prompt_tokens",
                    problem: format!(
                        "{skipped} rows one after the other do not fit: they have more than {} tokens, or pictures of a shape that \
                         the model refuses; raise it or lower data.max_pixels",
                        self.spec.data.max_prompt_tokens
                    ),
                });
            }
        }
        Ok(prompts)
    }

    /// Judges responses to `source`'s prompts in this step.
    pub(super) fn judge<'a>(&'a self, source: &'a PromptSource, part: &'a str) -> Judge<'a> {
        let step = self.state.step + u64::from(part != EVALUATION);
        Judge { reward: self.reward.as_ref(), source, run: &self.run, step, part }
    }

    /// The learner over the current weights.
    pub(super) fn learner(&self) -> Learner<'_> {
        let temperature = if matches!(self.spec.method, Method::Sft(_)) { 1.0 } else { self.spec.rollout.temperature };
        // A masked view in the loss is a second graph beside the first.
        let graphs = if self.algorithm.masked_view().is_some_and(|view| view.in_loss) { 2 } else { 1 };
        Learner {
            pool: &self.pool,
            tracked: self.tracked.as_ref(),
            detached: self.detached.as_ref(),
            parameters: self.folder.parameters(),
            vocabulary: Vocabulary::rollout(self.tracked.info(), temperature),
            packing: Packing::on(self.tracked.device()),
            microbatch_tokens: self.spec.batch.microbatch_tokens / graphs,
            checkpointing: self.spec.train.gradient_checkpointing,
            predicting: self.focuses_on_predicting(),
        }
    }

    /// Is a token as visual as the state that predicts it, not the one that reads it?
    pub(super) fn focuses_on_predicting(&self) -> bool {
        matches!(&self.spec.method, Method::Vgpo(m) if m.focus_position == FocusPosition::Predicting)
    }

    /// Clips and applies the gradients of one mini-batch; returns norm and learning rate.
    pub(super) fn update(&mut self, gradients: &Gradients) -> Result<(f64, f64), TrainError> {
        let step = self.state.step + 1;
        let rate = learning_rate(&self.spec.optimizer, step, self.spec.steps);
        let norm = self.optimizer.step(self.folder.parameters(), gradients, rate)?;
        if !norm.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        Ok((norm, rate))
    }

    /// Raises a warning when every response so far got the same reward: nothing can be learnt from that.
    pub(super) fn watch_reward(&mut self, rewards: &[f64]) -> Result<(), TrainError> {
        let Some(first) = rewards.first() else { return Ok(()) };
        let begun = self.state.step > 0;
        let constant = self.state.constant_reward.filter(|_| begun).unwrap_or(*first);
        let unchanged = begun == self.state.constant_reward.is_some() && rewards.iter().all(|r| *r == constant);
        self.state.constant_reward = unchanged.then_some(constant);
        if unchanged && self.state.step + 1 == CONSTANT_REWARD_STEPS {
            let message = format!(
                "every response of the first {CONSTANT_REWARD_STEPS} steps got the reward {constant}: nothing can be \
                 learnt from that. Check `reward` and the answers' form with a few responses"
            );
            self.sink.event("warning.constant_reward", &message, json!({ "reward": constant }))?;
        }
        Ok(())
    }
}
