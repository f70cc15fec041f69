//! What a phase that takes minutes tells of itself while it runs, from any thread.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Stopwatch;

/// Time between two messages.
const PAUSE: Duration = Duration::from_secs(30);

/// Passes on how far a step or an evaluation is, at most every 30 seconds: short ones say nothing.
#[derive(Clone)]
pub struct Reporter {
    say: Arc<dyn Fn(String) + Send + Sync>,
    pause: Duration,
    last: Arc<Mutex<Stopwatch>>,
}

impl Reporter {
    /// `say` is called by the thread that has something to tell, and should return at once.
    pub fn new(say: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self { say: Arc::new(say), pause: PAUSE, last: Arc::new(Mutex::new(Stopwatch::start())) }
    }

    /// The same with another pause between two messages.
    #[must_use]
    pub fn every(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// A step or an evaluation begins: its first message comes after a pause.
    pub(super) fn begin(&self) {
        *self.last.lock() = Stopwatch::start();
    }

    /// Tells `message`, unless another one was told within the pause.
    pub(super) fn tell(&self, message: impl FnOnce() -> String) {
        let due = {
            let mut last = self.last.lock();
            let due = last.seconds() >= self.pause.as_secs_f64();
            if due {
                *last = Stopwatch::start();
            }
            due
        };
        if due {
            (self.say)(message());
        }
    }
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl Debug for Reporter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("pause", &self.pause).finish_non_exhaustive()
    }
}

/// How far a rollout is, over all threads.
pub(super) struct SamplingProgress<'a> {
    reporter: &'a Reporter,
    prompts: usize,
    responses: usize,
    read: AtomicUsize,
    finished: AtomicUsize,
    tokens: AtomicUsize,
}

impl<'a> SamplingProgress<'a> {
    /// A rollout with `group_size` responses to each of its prompts.
    pub(super) fn of(reporter: &'a Reporter, prompts: usize, group_size: usize) -> Self {
        let [read, finished, tokens] = [const { AtomicUsize::new(0) }; 3];
        Self { reporter, prompts, responses: prompts * group_size, read, finished, tokens }
    }

    /// Prompts were prefilled.
    pub(super) fn read(&self, prompts: usize) {
        self.read.fetch_add(prompts, Ordering::Relaxed);
        self.tell();
    }

    /// Tokens were drawn, which ended some responses.
    pub(super) fn drawn(&self, tokens: usize, finished: usize) {
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
        self.finished.fetch_add(finished, Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        self.reporter.tell(|| {
            let now = |count: &AtomicUsize| count.load(Ordering::Relaxed);
            format!(
                "sampling: {} of {} prompts read, {} of {} responses finished, {} tokens",
                now(&self.read),
                self.prompts,
                now(&self.finished),
                self.responses,
                now(&self.tokens)
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::parallel::Pool;

    /// `count` micro-batches of an update.
    fn update(reporter: &Reporter, count: usize) {
        let pool = Pool::of(1, 1).unwrap().reporting(reporter.clone());
        pool.batches_in_waves("update", &vec![(); count], |()| Ok(()), Ok).unwrap();
    }

    fn told(pause: Duration) -> (Reporter, Arc<Mutex<Vec<String>>>) {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&told);
        (Reporter::new(move |message| kept.lock().push(message)).every(pause), told)
    }

    #[test]
    fn a_short_step_says_nothing() {
        let (reporter, told) = told(Duration::from_hours(1));
        update(&reporter, 2);
        assert_eq!(told.lock().len(), 0);
    }

    #[test]
    fn a_long_step_says_how_far_it_is() {
        let (reporter, told) = told(Duration::ZERO);
        let sampling = SamplingProgress::of(&reporter, 2, 4);
        sampling.read(1);
        sampling.drawn(4, 0);
        sampling.drawn(4, 3);
        update(&reporter, 2);
        let expected = [
            "sampling: 1 of 2 prompts read, 0 of 8 responses finished, 0 tokens",
            "sampling: 1 of 2 prompts read, 0 of 8 responses finished, 4 tokens",
            "sampling: 1 of 2 prompts read, 3 of 8 responses finished, 8 tokens",
            "update: 1 of 2 micro-batches",
            "update: 2 of 2 micro-batches",
        ];
        assert_eq!(*told.lock(), expected);
    }
}
