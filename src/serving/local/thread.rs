//! The compute thread of a loaded model: it takes jobs from a bounded queue and works on all of them at once. Requests join and
//! leave between steps; a step reads a part of the prompts that wait and gives every row in the batch one token.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::admission::Inflow;
use super::guarded;
use super::job::{GenerateJob, Job, ScoreJob};
use super::lanes::Lanes;
use super::prompts::Prompts;
use super::score::score;
use crate::clock::Stopwatch;
use crate::config::serving::{COMPANY_LOOK, COMPANY_SHARE, COMPANY_WAIT, EngineLimits};
use crate::serving::model::ServedModel;
use crate::serving::usage::{Held, Totals};

/// Where the thread tells how busy it is.
pub struct Watched {
    /// Of the whole engine.
    pub totals: Arc<Totals>,
    /// Of this model.
    pub held: Arc<Held>,
}

/// Works until the queue is closed and everything is done.
pub fn run(
    served: &Arc<ServedModel>,
    queue: &Receiver<Job>,
    inflow: &Inflow,
    limits: &EngineLimits,
    watched: &Watched,
) {
    let mut schedule = Schedule::new(served, limits, &watched.totals);
    let taken = |job| {
        inflow.leave();
        job
    };
    let mut patience = COMPANY_WAIT;
    loop {
        if schedule.is_idle() {
            let Ok(job) = queue.recv().map(taken) else { return };
            schedule.take(job);
        }
        while schedule.has_room() {
            let Ok(job) = queue.try_recv().map(taken) else { break };
            schedule.take(job);
        }
        // A step that many requests would miss waits a moment for them: prompts and rows take less time together. Who takes
        // longer, with large pictures say, is not waited for at every step.
        if inflow.coming() == 0 {
            patience = COMPANY_WAIT;
        }
        while schedule.has_room() && inflow.coming() * COMPANY_SHARE > schedule.rows() && !patience.is_zero() {
            let clock = Stopwatch::start();
            match queue.recv_timeout(COMPANY_LOOK.min(patience)).map(taken) {
                Ok(job) => schedule.take(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            patience = patience.saturating_sub(Duration::from_secs_f64(clock.seconds()));
        }
        schedule.step();
        schedule.tell(&watched.held);
    }
}

/// Everything that has left the queue.
struct Schedule<'m> {
    served: &'m ServedModel,
    totals: &'m Totals,
    batch_rows: usize,
    /// The oldest job, when it does not fit beside the others yet: nobody overtakes it.
    held: Option<GenerateJob>,
    scores: VecDeque<ScoreJob>,
    prompts: Prompts<'m>,
    lanes: Lanes<'m>,
}

impl<'m> Schedule<'m> {
    fn new(served: &'m ServedModel, limits: &EngineLimits, totals: &'m Totals) -> Self {
        Self {
            served,
            totals,
            batch_rows: limits.batch_rows.max(1),
            held: None,
            scores: VecDeque::new(),
            prompts: Prompts::new(served, limits, totals),
            lanes: Lanes::new(served),
        }
    }

    fn rows(&self) -> usize {
        self.prompts.rows() + self.lanes.rows()
    }

    fn is_idle(&self) -> bool {
        self.held.is_none() && self.scores.is_empty() && self.rows() == 0
    }

    fn has_room(&self) -> bool {
        self.held.is_none() && self.scores.is_empty() && self.rows() < self.batch_rows
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Score(job) => self.scores.push_back(*job),
            Job::Generate(job) => self.begin(*job),
        }
    }

    fn begin(&mut self, job: GenerateJob) {
        let rows = self.rows();
        if rows > 0 && rows + job.sampling.choices > self.batch_rows {
            self.held = Some(job);
        } else {
            self.totals.taken(job.prompt.len(), job.waiting.seconds());
            self.prompts.add(job);
        }
    }

    fn step(&mut self) {
        if let Some(job) = self.held.take() {
            self.begin(job);
        }
        if let Some(job) = self.scores.pop_front() {
            run_score(self.served, job);
        }
        for (running, prompt) in self.prompts.read() {
            self.lanes.admit(&running, &prompt);
        }
        let (rows, clock) = (self.lanes.rows(), Stopwatch::start());
        if rows > 0 {
            self.lanes.step();
            self.totals.decoded(rows, clock.seconds());
        }
    }

    /// Tells what it holds between two steps.
    fn tell(&self, held: &Held) {
        held.set(self.rows(), self.lanes.kv_bytes(), self.prompts.memory_bytes());
    }
}

fn run_score(served: &ServedModel, job: ScoreJob) {
    if job.result.is_closed() {
        return;
    }
    let scores = guarded(|| score(served, &job));
    if let Err(error) = &scores {
        tracing::error!(model = %served.id, %error, "scoring failed");
    }
    let _ = job.result.send(scores);
}
