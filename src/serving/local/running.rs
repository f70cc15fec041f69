//! A generation that has left the queue: how far it is, whoever works on it.

use std::cell::Cell;

use super::job::{GenerateJob, RawEvent};
use crate::clock::Stopwatch;
use crate::serving::ServingError;
use crate::serving::answer::{FinishReason, Timings};

/// A job and what has been done of it.
pub struct Running {
    /// The job.
    pub job: GenerateJob,
    left: Cell<usize>,
    generated: Cell<usize>,
    queue_seconds: f64,
    prefill_seconds: Cell<f64>,
    decoding: Stopwatch,
    failed: Cell<bool>,
}

impl Running {
    /// A job that leaves the queue now.
    pub fn start(job: GenerateJob) -> Self {
        Self {
            left: Cell::new(job.sampling.choices),
            generated: Cell::new(0),
            queue_seconds: job.waiting.seconds(),
            prefill_seconds: Cell::new(0.0),
            decoding: Stopwatch::start(),
            failed: Cell::new(false),
            job,
        }
    }

    /// Does nobody wait for more of it?
    pub fn is_unheard(&self) -> bool {
        self.failed.get() || self.job.cancelled.is_raised() || self.job.events.is_closed()
    }

    /// Its prompt took so long to read.
    pub fn add_prefill(&self, seconds: f64) {
        self.prefill_seconds.set(self.prefill_seconds.get() + seconds);
    }

    /// A response is complete; after the last one the answer is.
    pub fn finish_choice(&self, choice: usize, reason: FinishReason, generated: usize) {
        self.left.set(self.left.get() - 1);
        self.generated.set(self.generated.get() + generated);
        // A closed channel means that nobody listens any more, which is no error.
        let _ = self.job.events.send(RawEvent::Finished { choice, reason, generated });
        if self.left.get() == 0 {
            let _ = self.job.events.send(RawEvent::Done(self.timings()));
        }
    }

    /// It cannot go on. Only the first failure is told.
    pub fn fail(&self, error: &ServingError) {
        if !self.failed.replace(true) {
            let _ = self.job.events.send(RawEvent::Failed(error.clone()));
        }
    }

    fn timings(&self) -> Timings {
        let prefill_seconds = self.prefill_seconds.get();
        let decode_seconds = (self.decoding.seconds() - prefill_seconds).max(f64::MIN_POSITIVE);
        Timings {
            queue_seconds: self.queue_seconds,
            prefill_seconds,
            decode_seconds,
            total_seconds: self.job.waiting.seconds(),
            tokens_per_second: self.generated.get() as f64 / decode_seconds,
        }
    }
}
