//! The compute thread of a loaded model: it takes jobs from a bounded queue and works on all of them at once. Requests join and
//! leave between steps; a step reads a part of the prompts that wait and gives every row in the batch one token.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;

use super::decode::Decode;
use super::job::{GenerateJob, Job, ScoreJob};
use super::reading::{PromptMemory, ReadPrompt, Reading, Start};
use super::running::Running;
use super::score::score;
use crate::clock::Stopwatch;
use crate::config::serving::EngineLimits;
use crate::serving::ServingError;
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
    waiting: &AtomicUsize,
    limits: &EngineLimits,
    watched: &Watched,
) {
    let mut schedule = Schedule::new(served, limits, &watched.totals);
    let taken = |job| {
        waiting.fetch_sub(1, Ordering::Relaxed);
        job
    };
    loop {
        if schedule.is_idle() {
            let Ok(job) = queue.recv().map(taken) else { return };
            schedule.take(job);
        }
        while schedule.has_room() {
            let Ok(job) = queue.try_recv().map(taken) else { break };
            schedule.take(job);
        }
        schedule.step();
        schedule.tell(&watched.held);
    }
}

/// A generation whose prompt is being read.
struct Prefilling<'m> {
    running: Rc<Running>,
    reading: Option<Box<Reading<'m>>>,
}

/// Everything that has left the queue.
struct Schedule<'m> {
    served: &'m ServedModel,
    totals: &'m Totals,
    memory: PromptMemory,
    batch_rows: usize,
    chunk_tokens: usize,
    /// The oldest job, when it does not fit beside the others yet: nobody overtakes it.
    held: Option<GenerateJob>,
    scores: VecDeque<ScoreJob>,
    prefilling: VecDeque<Prefilling<'m>>,
    shared: Decode<'m>,
    /// Rows that asked for bits that do not depend on neighbours.
    alone: Vec<Decode<'m>>,
}

impl<'m> Schedule<'m> {
    fn new(served: &'m ServedModel, limits: &EngineLimits, totals: &'m Totals) -> Self {
        Self {
            served,
            totals,
            memory: PromptMemory::new(limits.prompt_memory_bytes),
            batch_rows: limits.batch_rows.max(1),
            chunk_tokens: limits.prefill_chunk_tokens.max(1),
            held: None,
            scores: VecDeque::new(),
            prefilling: VecDeque::new(),
            shared: Decode::new(served),
            alone: Vec::new(),
        }
    }

    fn rows(&self) -> usize {
        let reading: usize = self.prefilling.iter().map(|p| p.running.job.sampling.choices).sum();
        reading + self.shared.rows() + self.alone.len()
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
            self.prefilling.push_back(Prefilling { running: Rc::new(Running::start(job)), reading: None });
        }
    }

    fn step(&mut self) {
        if let Some(job) = self.held.take() {
            self.begin(job);
        }
        if let Some(job) = self.scores.pop_front() {
            run_score(self.served, job);
        }
        self.read_prompts();
        for batch in std::iter::once(&mut self.shared).chain(&mut self.alone) {
            let (rows, clock) = (batch.rows(), Stopwatch::start());
            if let Err(error) = guarded(|| batch.step()) {
                tracing::error!(model = %self.served.id, %error, "a batch failed");
                batch.fail(&error);
            } else if rows > 0 {
                self.totals.decoded(rows, clock.seconds());
            }
        }
        self.alone.retain(|batch| batch.rows() > 0);
    }

    /// Tells what it holds between two steps.
    fn tell(&self, held: &Held) {
        let decoding = self.shared.kv_bytes() + self.alone.iter().map(Decode::kv_bytes).sum::<usize>();
        held.set(self.rows(), decoding, self.memory.bytes());
    }

    /// Reads as many tokens of waiting prompts as fit into one step, the oldest first.
    fn read_prompts(&mut self) {
        let mut left = self.chunk_tokens;
        while left > 0
            && let Some(mut next) = self.prefilling.pop_front()
        {
            if next.running.is_unheard() {
                continue;
            }
            let clock = Stopwatch::start();
            let read = guarded(|| self.read_part(&mut next, &mut left));
            let seconds = clock.seconds();
            next.running.add_prefill(seconds);
            self.totals.prefilled(seconds);
            match read {
                Ok(None) => self.prefilling.push_front(next),
                Ok(Some(prompt)) => {
                    if let Err(error) = guarded(|| self.admit(&next.running, &prompt)) {
                        self.give_up(&next.running, &error);
                    }
                }
                Err(error) => self.give_up(&next.running, &error),
            }
        }
    }

    fn give_up(&self, running: &Running, error: &ServingError) {
        tracing::error!(model = %self.served.id, %error, "a prompt failed");
        running.fail(error);
    }

    /// Reads a part of a prompt; the prompt, once it has been read.
    fn read_part(
        &mut self,
        next: &mut Prefilling<'m>,
        left: &mut usize,
    ) -> Result<Option<Rc<ReadPrompt>>, ServingError> {
        let alone = next.running.job.sampling.alone;
        if next.reading.is_none() {
            // What was read in other parts, or beside others, may differ in the last bits.
            let memory = (!alone).then_some(&mut self.memory);
            match Reading::start(self.served, &next.running.job.prompt, memory)? {
                Start::Known(prompt) => return Ok(Some(prompt)),
                Start::Reading(reading) => next.reading = Some(reading),
            }
        }
        let Some(reading) = &mut next.reading else { return Ok(None) };
        let columns = if alone { reading.left() } else { *left };
        *left = left.saturating_sub(reading.advance(columns)?);
        if reading.left() > 0 {
            return Ok(None);
        }
        let Some(reading) = next.reading.take() else { return Ok(None) };
        let prompt = Rc::new(reading.finish()?);
        if !alone {
            self.memory.keep(&prompt);
        }
        Ok(Some(prompt))
    }

    fn admit(&mut self, running: &Rc<Running>, prompt: &ReadPrompt) -> Result<(), ServingError> {
        let choices = running.job.sampling.choices;
        if !running.job.sampling.alone {
            return self.shared.admit(running, 0..choices, prompt);
        }
        for choice in 0..choices {
            let mut batch = Decode::new(self.served);
            batch.admit(running, choice..choice + 1, prompt)?;
            self.alone.push(batch);
        }
        Ok(())
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

/// A panic becomes an error of the requests it hit; the model itself keeps no state between jobs.
fn guarded<T>(work: impl FnOnce() -> Result<T, ServingError>) -> Result<T, ServingError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        Err(ServingError::Engine(text.unwrap_or_else(|| "it panicked".to_owned())))
    })
}
