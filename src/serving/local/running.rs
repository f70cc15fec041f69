//! The state of a generation that has left the queue.

use parking_lot::{Mutex, MutexGuard};

use super::admission::TokenClaim;
use super::job::{GenerateJob, RawEvent};
use crate::clock::Stopwatch;
use crate::serving::ServingError;
use crate::serving::answer::{FinishReason, Timings};

/// A job and its progress. Its rows may be decoded on several threads.
pub struct Running {
    /// The job.
    pub job: GenerateJob,
    queue_seconds: f64,
    decoding: Stopwatch,
    progress: Mutex<Progress>,
}

struct Progress {
    /// Responses that are not complete.
    left: usize,
    generated: usize,
    prefill_seconds: f64,
    failed: bool,
    /// Given back before the end is told: who hears of it may ask again at once.
    claim: Option<TokenClaim>,
}

impl Running {
    /// Starts a job that leaves the queue.
    pub fn start(mut job: GenerateJob) -> Self {
        let claim = job.claim.take();
        let left = job.sampling.choices;
        Self {
            queue_seconds: job.waiting.seconds(),
            decoding: Stopwatch::start(),
            progress: Mutex::new(Progress { left, generated: 0, prefill_seconds: 0.0, failed: false, claim }),
            job,
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }

    /// Has it failed, been cancelled, or lost its client?
    pub fn is_abandoned(&self) -> bool {
        self.progress().failed || self.job.cancelled.is_raised() || self.job.events.is_closed()
    }

    /// Adds to its prefill time.
    pub fn add_prefill(&self, seconds: f64) {
        self.progress().prefill_seconds += seconds;
    }

    /// Completes a response and, with the last one, the answer.
    pub fn finish_choice(&self, choice: usize, reason: FinishReason, generated: usize) {
        let mut progress = self.progress();
        progress.left -= 1;
        progress.generated += generated;
        // A closed channel means that the client has gone, which is not an error.
        let _ = self.job.events.send(RawEvent::Finished { choice, reason, generated });
        if progress.left == 0 {
            progress.claim = None;
            let _ = self.job.events.send(RawEvent::Done(self.timings(&progress)));
        }
    }

    /// Fails the job. Only the first failure is reported.
    pub fn fail(&self, error: &ServingError) {
        let mut progress = self.progress();
        progress.claim = None;
        if !std::mem::replace(&mut progress.failed, true) {
            let _ = self.job.events.send(RawEvent::Failed(error.clone()));
        }
    }

    fn timings(&self, progress: &Progress) -> Timings {
        let prefill_seconds = progress.prefill_seconds;
        let decode_seconds = (self.decoding.seconds() - prefill_seconds).max(f64::MIN_POSITIVE);
        Timings {
            queue_seconds: self.queue_seconds,
            prefill_seconds,
            decode_seconds,
            total_seconds: self.job.waiting.seconds(),
            tokens_per_second: progress.generated as f64 / decode_seconds,
        }
    }
}
