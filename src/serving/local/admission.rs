//! Admission: limits the tokens in flight per model and the number of prompts that are preprocessed at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Stopwatch;
use crate::config::serving::EngineLimits;
use crate::serving::ServingError;

/// Bounds of `retry_after`, in seconds.
const PAUSES: (u64, u64) = (1, 60);

/// Seconds after which a client should try again: the time for `tokens` at `pace` tokens a second, which is unknown
/// before the first tokens.
pub fn pause(tokens: f64, pace: Option<f64>) -> u64 {
    let seconds = pace.map_or(0.0, |pace| tokens / pace);
    (seconds.ceil() as u64).clamp(PAUSES.0, PAUSES.1)
}

/// Requests on their way to a model's compute thread.
#[derive(Default)]
pub struct Arrivals {
    waiting: AtomicUsize,
    pending: AtomicUsize,
}

/// A request whose prompt is being prepared, until it is dropped.
pub struct Pending(Arc<Arrivals>);

impl Arrivals {
    /// Requests in the queue.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Requests whose prompts are being prepared.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Is a request on its way?
    pub fn any(&self) -> bool {
        self.waiting() + self.pending() > 0
    }

    /// Counts a request as pending.
    pub fn announce(self: &Arc<Self>) -> Pending {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Pending(Arc::clone(self))
    }

    /// Counts a request that enters the queue.
    pub fn enter(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that has left the queue.
    pub fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tokens that a model's accepted requests may still take.
pub struct TokenBudget {
    taken: Arc<AtomicUsize>,
    limit: usize,
}

/// A request's part of the budget, released on drop.
#[derive(Debug)]
pub struct TokenClaim {
    taken: Arc<AtomicUsize>,
    tokens: usize,
}

impl TokenBudget {
    /// A budget of `limit` tokens.
    pub fn new(limit: usize) -> Self {
        Self { taken: Arc::default(), limit }
    }

    /// Tokens that the accepted requests may still take.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Reserves `tokens` for a request to `model`. If the model is idle, no request is too large, because waiting would
    /// not help. `pace` is the engine's throughput in tokens per second.
    ///
    /// # Errors
    /// The budget is used up.
    pub fn claim(&self, model: &str, tokens: usize, pace: Option<f64>) -> Result<TokenClaim, ServingError> {
        let claim = |taken: usize| {
            let sum = taken.saturating_add(tokens);
            (taken == 0 || sum <= self.limit).then_some(sum)
        };
        match self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, claim) {
            Ok(_) => Ok(TokenClaim { taken: Arc::clone(&self.taken), tokens }),
            Err(taken) => Err(ServingError::Saturated {
                model: model.to_owned(),
                taken,
                tokens,
                limit: self.limit,
                // There is room once the surplus has been processed; for the largest requests, once the model is idle.
                retry_after: pause((taken + tokens).saturating_sub(self.limit).min(taken) as f64, pace),
            }),
        }
    }
}

impl Drop for TokenClaim {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.tokens, Ordering::AcqRel);
    }
}

/// Limits the threads that preprocess prompts to the number of cores: images of many requests must neither fill the
/// memory nor take all cores from the models.
pub struct PreprocessPool {
    threads: Arc<Semaphore>,
    slots: Arc<Semaphore>,
    waiting: usize,
    elapsed: Arc<Elapsed>,
}

/// Total time spent on preprocessing.
#[derive(Default)]
struct Elapsed {
    prompts: AtomicU64,
    micros: AtomicU64,
}

/// Permission to preprocess a prompt, released on drop.
pub struct Permit {
    _thread: OwnedSemaphorePermit,
    _slot: OwnedSemaphorePermit,
    elapsed: Arc<Elapsed>,
    since: Stopwatch,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.elapsed.prompts.fetch_add(1, Ordering::Relaxed);
        self.elapsed.micros.fetch_add((self.since.seconds() * 1e6) as u64, Ordering::Relaxed);
    }
}

impl Elapsed {
    /// Prompts per second and thread.
    fn pace(&self) -> Option<f64> {
        let micros = self.micros.load(Ordering::Relaxed);
        (micros > 0).then(|| self.prompts.load(Ordering::Relaxed) as f64 * 1e6 / micros as f64)
    }
}

impl PreprocessPool {
    /// A pool where `limits.queued_requests` requests may wait.
    pub fn new(limits: &EngineLimits) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let waiting = limits.queued_requests.max(1);
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            slots: Arc::new(Semaphore::new(threads + waiting)),
            waiting,
            elapsed: Arc::default(),
        }
    }

    /// Waits for a permit for a request to `model`.
    ///
    /// # Errors
    /// Too many requests are already waiting.
    pub async fn acquire(&self, model: &str) -> Result<Permit, ServingError> {
        let full = || {
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
            let retry_after = pause(self.waiting as f64 / threads, self.elapsed.pace());
            ServingError::Overloaded { model: model.to_owned(), waiting: self.waiting, retry_after }
        };
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| full())?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| ServingError::Stopped)?;
        Ok(Permit { _thread: thread, _slot: slot, elapsed: Arc::clone(&self.elapsed), since: Stopwatch::start() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_the_work_ahead() {
        assert_eq!(pause(500.0, None), 1, "the pace is unknown before the first tokens");
        assert_eq!(pause(500.0, Some(1_000.0)), 1);
        assert_eq!(pause(5_001.0, Some(1_000.0)), 6);
        assert_eq!(pause(1e9, Some(1.0)), 60, "the longest");
        assert_eq!(pause(5.0, Some(0.0)), 60);
    }

    #[test]
    fn a_spent_budget_asks_to_wait_for_the_surplus() {
        let budget = TokenBudget::new(1_000);
        let _held = budget.claim("m", 950, Some(10.0)).unwrap();
        let retry = |tokens| match budget.claim("m", tokens, Some(10.0)).unwrap_err() {
            ServingError::Saturated { retry_after, taken: 950, .. } => retry_after,
            other => panic!("{other}"),
        };
        assert_eq!(retry(150), 10);
        // It is admitted once the model is idle, so it only waits for the requests in progress.
        let budget = TokenBudget::new(100);
        let _held = budget.claim("m", 50, Some(10.0)).unwrap();
        let refused = budget.claim("m", 10_000, Some(10.0)).unwrap_err();
        assert!(matches!(refused, ServingError::Saturated { retry_after: 5, .. }), "{refused}");
    }
}
