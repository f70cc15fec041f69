//! Jobs of the method `eval`, which only answer rows. Rows are answered in chunks and each finished chunk is stored, so
//! a run that was interrupted resumes after the last one and ends with the same numbers.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::data::Split;
use crate::domain::eval_row::{EvalRow, ROWS_FILE};
use crate::domain::metric::StepMetrics;
use crate::domain::spec::{EvaluationSpec, JobSpec, RowSplit};
use crate::domain::weights::WeightFormat;
use crate::model::device::open_device;
use crate::model::footprint::SamplingRoom;
use crate::model::logprob::Vocabulary;
use crate::model::{Holding, ModelFolder, View, VisionLanguageModel};
use crate::prompt::Processor;
use crate::reward::{self, Reward};

use super::audit::audit;
use super::error::{TrainError, file_error};
use super::eval_loop::{EvalLoop, record};
use super::eval_metrics::EvalMetrics;
use super::eval_rows::RowsFile;
use super::group::{Group, responses_mut};
use super::learner::Learner;
use super::metrics::Metrics;
use super::micro_batch::Packing;
use super::parallel::Pool;
use super::policy::number_format;
use super::ranks::Ranks;
use super::rewards::RewardContext;
use super::samples;
use super::sink::{Control, RunSink};
use super::source::PromptSource;
use super::{RunEnd, TrainRequest, process_memory};

/// Most rows that are logged with every token.
const LOGGED: usize = 8;

/// An eval job in progress.
struct EvalJob<'s> {
    spec: JobSpec,
    method: EvaluationSpec,
    pool: Pool,
    /// The model's folder, whose weights `model` has.
    folder: ModelFolder,
    model: Arc<dyn VisionLanguageModel>,
    reward: Box<dyn Reward>,
    run: String,
    source: PromptSource,
    sink: &'s mut dyn RunSink,
    work_dir: PathBuf,
    metrics: EvalMetrics,
    room: Option<SamplingRoom>,
    ranks: &'s Ranks,
    /// Finished chunks.
    done: u64,
}

/// Answers every chunk that `request.rows` does not hold yet.
pub(super) fn run(
    request: TrainRequest,
    method: &EvaluationSpec,
    sink: &mut dyn RunSink,
    ranks: &Ranks,
) -> Result<RunEnd, TrainError> {
    let TrainRequest { spec, model_dir, device, dataset, work_dir, run, rewards, rows, room, .. } = request;
    let device = open_device(ranks.device(device))?;
    let dtype = number_format(spec.train.dtype, &device);
    let holding = Holding { dtype, ..Holding::read_only(&device, WeightFormat::Native) };
    let folder = ModelFolder::open_with(&model_dir, &device, holding)?;
    let model = folder.model(View::Detached)?;
    let processor = Arc::new(Processor::from_dir(&model_dir, model.info()).map_err(TrainError::PromptSettings)?);
    let split = match method.split {
        RowSplit::Eval => Split::Eval,
        RowSplit::Train => Split::Train,
    };
    let source = PromptSource::new(processor, dataset, split, &spec.data, model.info(), spec.rollout.max_new_tokens)?;
    let mut job = EvalJob {
        pool: Pool::shared(&device, model.info().parameters, ranks.on_this_host().0)?.serving(&*sink),
        reward: reward::build_with(&spec.reward, &rewards)?,
        metrics: EvalMetrics::new(spec.eval.samples),
        done: rows.len() as u64,
        spec,
        method: method.clone(),
        folder,
        model,
        run,
        source,
        sink,
        work_dir,
        room,
        ranks,
    };
    ranks.same("the data set", &job.source.dataset().fingerprint())?;
    ranks.same("the number of stored chunks", &job.done.to_string())?;
    rows.iter().try_for_each(|chunk| job.add_stored(chunk))?;
    job.run()
}

fn stopped(control: Control) -> RunEnd {
    if control == Control::Cancel { RunEnd::Cancelled } else { RunEnd::Yielded }
}

impl EvalJob<'_> {
    fn run(mut self) -> Result<RunEnd, TrainError> {
        while self.done < self.chunks() {
            match self.sink.control() {
                Control::Continue => match self.chunk() {
                    Err(TrainError::Stopped(control)) => return Ok(stopped(control)),
                    result => result?,
                },
                control => return Ok(stopped(control)),
            }
        }
        let accuracy = self.metrics.metrics().find(crate::domain::metric::EVAL_ACCURACY);
        Ok(RunEnd::Finished { accuracy, stopped_early: None })
    }

    fn rows(&self) -> u64 {
        self.spec.eval_rows.min(self.source.rows())
    }

    fn chunks(&self) -> u64 {
        self.rows().div_ceil(self.spec.batch.prompts_per_step)
    }

    /// Adds up the rows of a chunk that an earlier attempt finished.
    fn add_stored(&mut self, chunk: &Path) -> Result<(), TrainError> {
        let path = chunk.join(ROWS_FILE);
        let file = BufReader::new(File::open(&path).map_err(file_error(&path))?);
        for line in file.lines() {
            let line = line.map_err(file_error(&path))?;
            let row: EvalRow = serde_json::from_str(&line)
                .map_err(|e| TrainError::Checkpoint { path: path.display().to_string(), problem: e.to_string() })?;
            self.metrics.add(&row);
        }
        Ok(())
    }

    fn chunk(&mut self) -> Result<(), TrainError> {
        let clock = Stopwatch::start();
        self.pool.reporter().begin();
        let first = self.done * self.spec.batch.prompts_per_step;
        let range = first..self.rows().min(first + self.spec.batch.prompts_per_step);
        let tokens = self.metrics.tokens();
        let dir = self.answer(range)?;
        self.done += 1;
        let seconds = clock.seconds();
        let mut metrics = self.metrics.metrics();
        if self.done < self.chunks() {
            // Until the last chunk only the number of rows is reported: the accuracy of a part is not a result.
            let rows = metrics.get("eval/rows");
            metrics = Metrics::default();
            metrics.set("eval/rows", rows);
        }
        metrics.set("time/step", seconds);
        metrics.set("throughput/tokens_per_second", (self.metrics.tokens() - tokens) as f64 / seconds.max(1e-9));
        if let Some(bytes) = process_memory::peak_bytes() {
            metrics.set("memory/peak_bytes", bytes as f64);
        }
        let (samples, tokens) = (self.metrics.responses(), self.metrics.tokens());
        // The metrics go first: a run that dies after it stored its rows must not miss the metrics of their chunk.
        self.sink.metrics(&StepMetrics { step: self.done, samples, tokens, values: metrics.into_values() })?;
        Ok(self.sink.rows(self.done, &dir)?)
    }

    /// Answers rows, adds them to the metrics, and writes them into a folder of their own.
    fn answer(&mut self, rows: Range<u64>) -> Result<PathBuf, TrainError> {
        let step = self.done + 1;
        let (source, processor) = (&self.source, self.source.processor());
        let rewards = RewardContext { reward: self.reward.as_ref(), processor, run: &self.run, step, part: "eval" };
        let (learner, spec, room) = (&self.learner(), &self.spec, self.room.as_ref());
        let mut answered = EvalLoop { learner, source, rewards, spec, room, ranks: self.ranks }.answer(rows)?;
        if self.method.audit {
            self.audit(learner, &mut answered)?;
        }
        let records: Vec<EvalRow> = answered.iter().map(|row| record(processor, row)).collect::<Result<_, _>>()?;
        if step == 1 && self.spec.log_samples_every > 0 {
            let logged = answered.iter().take(LOGGED).map(|row| samples::evaluated(processor, row));
            self.sink.samples(step, &logged.collect::<Result<Vec<_>, _>>()?)?;
        }
        for row in &records {
            self.metrics.add(row);
        }
        let dir = self.work_dir.join(format!("rows-{step:08}"));
        if !self.ranks.is_first() {
            return Ok(dir);
        }
        let mut file = RowsFile::create(dir)?;
        records.iter().try_for_each(|row| file.add(row))?;
        file.finish()
    }

    /// Measures what the responses of a chunk depend on the image for, as training would see them.
    fn audit(&self, learner: &Learner<'_>, groups: &mut [Group]) -> Result<(), TrainError> {
        if self.done == 0 && !groups.iter().any(Group::has_image) {
            let problem = format!(
                "an audit measures what responses depend on the image for, and none of the first {} rows has one: \
                 choose a data set with images",
                groups.len()
            );
            return Err(TrainError::Setting { field: "method.audit", problem });
        }
        audit(learner, self.ranks, groups, self.method.dependency_threshold)?;
        if self.spec.eval.image_dependence {
            for response in responses_mut(groups) {
                response.image_dependence = response.audit.map(|audit| audit.dependency);
            }
        }
        Ok(())
    }

    /// The weights as they are; log-probs at the temperature of the rollouts.
    fn learner(&self) -> Learner<'_> {
        Learner {
            pool: &self.pool,
            tracked: self.model.as_ref(),
            detached: self.model.as_ref(),
            parameters: self.folder.parameters(),
            vocabulary: Vocabulary::rollout(self.model.info(), self.spec.rollout.temperature),
            packing: if self.ranks.is_ordered() { Packing::ByGroup } else { Packing::Shared },
            microbatch_tokens: self.spec.batch.microbatch_tokens,
            checkpointing: false,
            predicting: false,
        }
    }
}
