//! Who may come in: a model has so many tokens in flight, and so many prompts are prepared at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Stopwatch;
use crate::config::serving::EngineLimits;
use crate::serving::ServingError;

/// The shortest and the longest pause, in seconds, that a client is asked to make.
const PAUSES: (u64, u64) = (1, 60);

/// In how many seconds `tokens` are worked off at `pace` tokens a second, as clients are told when they may come again. Nobody
/// knows before the first tokens.
pub fn pause(tokens: f64, pace: Option<f64>) -> u64 {
    let seconds = pace.map_or(0.0, |pace| tokens / pace);
    (seconds.ceil() as u64).clamp(PAUSES.0, PAUSES.1)
}

/// Requests on their way to a model's compute thread.
#[derive(Default)]
pub struct Inflow {
    waiting: AtomicUsize,
    coming: AtomicUsize,
}

/// A request whose prompt is being prepared, until it is dropped.
pub struct Coming(Arc<Inflow>);

impl Inflow {
    /// Those that stand in the queue.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Those whose prompts are being prepared.
    pub fn coming(&self) -> usize {
        self.coming.load(Ordering::Relaxed)
    }

    /// One more is coming.
    pub fn announce(self: &Arc<Self>) -> Coming {
        self.coming.fetch_add(1, Ordering::Relaxed);
        Coming(Arc::clone(self))
    }

    /// One enters the queue.
    pub fn enter(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// One has left the queue.
    pub fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tokens that a model's accepted requests may still take.
pub struct TokenBudget {
    taken: Arc<AtomicUsize>,
    limit: usize,
}

/// A request's part of the budget; given back when it is dropped.
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

    /// Takes `tokens` for a request to `model`. One that finds the model idle is never too large: waiting would not help it.
    /// `pace` is how many tokens a second the engine works off.
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
                // There is room when the surplus has been worked off; for the largest requests, when the model is idle.
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

/// Prompts are prepared on as many threads as there are cores: pictures of many requests must neither fill the memory nor
/// take every core from the models.
pub struct Workshop {
    benches: Arc<Semaphore>,
    places: Arc<Semaphore>,
    waiting: usize,
    spent: Arc<Spent>,
}

/// How long prompts took to prepare.
#[derive(Default)]
struct Spent {
    prompts: AtomicU64,
    micros: AtomicU64,
}

/// A place in the workshop; free again when it is dropped.
pub struct Place {
    _bench: OwnedSemaphorePermit,
    _room: OwnedSemaphorePermit,
    spent: Arc<Spent>,
    since: Stopwatch,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.spent.prompts.fetch_add(1, Ordering::Relaxed);
        self.spent.micros.fetch_add((self.since.seconds() * 1e6) as u64, Ordering::Relaxed);
    }
}

impl Spent {
    /// Prompts a second that one bench prepares.
    fn pace(&self) -> Option<f64> {
        let micros = self.micros.load(Ordering::Relaxed);
        (micros > 0).then(|| self.prompts.load(Ordering::Relaxed) as f64 * 1e6 / micros as f64)
    }
}

impl Workshop {
    /// A workshop where `limits.queued_requests` may wait.
    pub fn new(limits: &EngineLimits) -> Self {
        let benches = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let waiting = limits.queued_requests.max(1);
        Self {
            benches: Arc::new(Semaphore::new(benches)),
            places: Arc::new(Semaphore::new(benches + waiting)),
            waiting,
            spent: Arc::default(),
        }
    }

    /// Waits for a bench, for a request to `model`.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn enter(&self, model: &str) -> Result<Place, ServingError> {
        let full = || {
            let benches = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
            let retry_after = pause(self.waiting as f64 / benches, self.spent.pace());
            ServingError::Overloaded { model: model.to_owned(), waiting: self.waiting, retry_after }
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| full())?;
        let bench = Arc::clone(&self.benches).acquire_owned().await.map_err(|_| ServingError::Stopped)?;
        Ok(Place { _bench: bench, _room: place, spent: Arc::clone(&self.spent), since: Stopwatch::start() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_the_work_that_is_in_the_way() {
        assert_eq!(pause(500.0, None), 1, "nobody knows before the first tokens");
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
        // It is let in once the model is idle, so it waits for what is under way, not for more.
        let budget = TokenBudget::new(100);
        let _held = budget.claim("m", 50, Some(10.0)).unwrap();
        let refused = budget.claim("m", 10_000, Some(10.0)).unwrap_err();
        assert!(matches!(refused, ServingError::Saturated { retry_after: 5, .. }), "{refused}");
    }
}
