//! Who may come in: a model has so many tokens in flight, and so many prompts are prepared at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::serving::EngineLimits;
use crate::serving::ServingError;

/// When a request that is turned away may be sent again, in seconds.
pub const RETRY_AFTER: u64 = 1;

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

    /// Takes `tokens` for a request to `model`. One that finds the model idle is never too large: waiting would not help it.
    ///
    /// # Errors
    /// The budget is used up.
    pub fn claim(&self, model: &str, tokens: usize) -> Result<TokenClaim, ServingError> {
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
                retry_after: RETRY_AFTER,
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
}

/// A place in the workshop; free again when it is dropped.
pub struct Place {
    _bench: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
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
        }
    }

    /// Waits for a bench, for a request to `model`.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn enter(&self, model: &str) -> Result<Place, ServingError> {
        let full =
            || ServingError::Overloaded { model: model.to_owned(), waiting: self.waiting, retry_after: RETRY_AFTER };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| full())?;
        let bench = Arc::clone(&self.benches).acquire_owned().await.map_err(|_| ServingError::Stopped)?;
        Ok(Place { _bench: bench, _place: place })
    }
}
