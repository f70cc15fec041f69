//! The compute thread of a loaded model: it takes jobs from a bounded queue and runs all of them with continuous
//! batching. Requests join and leave between steps; a step prefills some of the waiting prompts and decodes one token
//! per row, or several while a single prompt is prefilled.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::admission::Arrivals;
use super::decode_batches::DecodeBatches;
use super::guarded;
use super::job::{GenerateJob, Job, ScoreJob};
use super::parallel::Graphs;
use super::prefill_queue::PrefillQueue;
use super::score::score;
use crate::clock::Stopwatch;
use crate::config::serving::{EngineLimits, JOIN_POLL, JOIN_WAIT, JOIN_WAIT_SHARE};
use crate::serving::model::ServedModel;
use crate::serving::usage::{Held, Totals};

/// Where the thread reports its usage.
pub struct Watched {
    /// Of the whole engine.
    pub totals: Arc<Totals>,
    /// Of this model.
    pub held: Arc<Held>,
}

/// Runs until the queue is closed and all jobs are done.
pub fn run(
    served: &Arc<ServedModel>,
    queue: &Receiver<Job>,
    arrivals: &Arrivals,
    limits: &EngineLimits,
    watched: &Watched,
) {
    let mut schedule = Schedule::new(served, limits, &watched.totals);
    let taken = |job| {
        arrivals.leave();
        job
    };
    let mut patience = JOIN_WAIT;
    loop {
        if schedule.is_idle() {
            let Ok(job) = queue.recv().map(taken) else { return };
            schedule.take(job);
        }
        while schedule.has_room() {
            let Ok(job) = queue.try_recv().map(taken) else { break };
            schedule.take(job);
        }
        // A step waits a moment for requests that are about to arrive, because batches are more efficient. Requests
        // that take longer, e.g. with large images, do not delay every step.
        if arrivals.pending() == 0 {
            patience = JOIN_WAIT;
        }
        while schedule.has_room() && arrivals.pending() * JOIN_WAIT_SHARE > schedule.rows() && !patience.is_zero() {
            let clock = Stopwatch::start();
            match queue.recv_timeout(JOIN_POLL.min(patience)).map(taken) {
                Ok(job) => schedule.take(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            patience = patience.saturating_sub(Duration::from_secs_f64(clock.seconds()));
        }
        schedule.step(arrivals);
        schedule.tell(&watched.held);
    }
}

/// All jobs that have left the queue.
struct Schedule<'m> {
    served: &'m ServedModel,
    totals: &'m Totals,
    batch_rows: usize,
    /// The oldest job, if it does not fit into the batch yet: later jobs must not overtake it.
    held: Option<GenerateJob>,
    scores: VecDeque<ScoreJob>,
    prompts: PrefillQueue<'m>,
    batches: DecodeBatches<'m>,
    graphs: Graphs,
}

impl<'m> Schedule<'m> {
    fn new(served: &'m ServedModel, limits: &EngineLimits, totals: &'m Totals) -> Self {
        Self {
            served,
            totals,
            batch_rows: limits.batch_rows.max(1),
            held: None,
            scores: VecDeque::new(),
            prompts: PrefillQueue::new(served, limits, totals),
            batches: DecodeBatches::new(served, totals),
            graphs: Graphs::of(served),
        }
    }

    fn rows(&self) -> usize {
        self.prompts.rows() + self.batches.rows()
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

    fn step(&mut self, arrivals: &Arrivals) {
        if let Some(job) = self.held.take() {
            self.begin(job);
        }
        if let Some(job) = self.scores.pop_front() {
            run_score(self.served, job);
        }
        let clock = Stopwatch::start();
        let mut round = self.prompts.begin_round();
        // One prompt occupies one thread well: meanwhile the others decode.
        let divided = self.graphs.all().divided().filter(|_| round.tasks() == 1 && self.batches.rows() > 0);
        if let Some((one, others)) = divided {
            let reading = AtomicBool::new(true);
            let read = || {
                round.run(one);
                reading.store(false, Ordering::Relaxed);
            };
            one.alongside(read, || self.batches.step_during(others, &reading));
        } else {
            round.run(self.graphs.all());
        }
        for (running, prompt) in self.prompts.end_round(round) {
            self.batches.admit(&running, &prompt);
        }
        if divided.is_none() {
            let is_settled = self.held.is_none() && self.scores.is_empty() && self.prompts.rows() == 0;
            let is_full = self.batches.rows() >= self.batch_rows;
            self.batches.step(self.graphs.all(), &|| is_settled && (is_full || !arrivals.any()));
        }
        self.totals.worked(clock.seconds());
    }

    /// Reports its usage between two steps.
    fn tell(&self, held: &Held) {
        held.set(self.rows(), self.batches.kv_bytes(), self.prompts.cache_bytes());
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
    // Who hears of the end may ask again at once.
    drop(job.claim);
    let _ = job.result.send(scores);
}
