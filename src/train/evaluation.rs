//! The evaluation of a run that trains, on held-out rows.

use crate::clock::Stopwatch;

use super::error::TrainError;
use super::eval_loop::EvalLoop;
use super::eval_rows::RowsFile;
use super::metrics::Metrics;
use super::trainer::Trainer;

impl Trainer<'_> {
    /// Evaluates the weights as they are; hands on samples and rows, and returns the metrics.
    pub(super) fn evaluate(&mut self) -> Result<Metrics, TrainError> {
        let clock = Stopwatch::start();
        let rows = self.spec.eval_rows.min(self.held_out.rows());
        if rows == 0 {
            return Ok(Metrics::default());
        }
        self.step.pool.reporter().begin();
        self.sink.progress(&format!("step {}: evaluating {rows} held-out rows", self.state.step));
        let (learner, source) = (&self.step.learner(), &self.held_out);
        let rewards = self.reward_context(source.processor(), self.state.step, "eval");
        let room = self.step.room.as_deref();
        let logged = self.spec.log_samples_every > 0;
        let mut kept = if logged && self.step.ranks.is_first() { Some(self.rows_file()?) } else { None };
        let result = EvalLoop { learner, source, rewards, spec: &self.spec, room, ranks: &self.step.ranks }
            .run(kept.as_mut())?;
        let mut metrics = result.metrics;
        metrics.set("time/evaluation", clock.seconds());
        if logged {
            self.sink.samples(self.state.step, &result.samples)?;
        }
        if let Some(kept) = kept {
            self.sink.evaluated(self.state.step, &kept.finish()?)?;
        }
        self.step.ranks.agree(metrics)
    }

    /// A file for the rows of this step's evaluation.
    fn rows_file(&self) -> Result<RowsFile, TrainError> {
        RowsFile::create(self.checkpoints.work_dir.join(format!("rows-step-{:08}", self.state.step)))
    }
}
