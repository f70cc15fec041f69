//! How many bytes the bodies of all requests may hold together.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{self, Problem};
use crate::config::app::Limits;

/// The bytes of bodies that all requests together may hold.
pub struct Budget {
    bytes: Arc<Semaphore>,
    most: usize,
}

/// What one request holds of the budget, until it is answered.
#[derive(Clone, Default)]
pub struct Share(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Budget {
    /// The budget among the settings.
    pub fn new(limits: &Limits) -> Self {
        let most = limits.bodies_bytes.min(Semaphore::MAX_PERMITS);
        Self { bytes: Arc::new(Semaphore::new(most)), most }
    }

    pub(super) fn take(&self, share: &Share, bytes: usize) -> Result<(), Problem> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.bytes).try_acquire_many_owned(permits).map_err(|_| self.full())?;
        let mut held = share.0.lock();
        match held.as_mut() {
            Some(held) => held.merge(taken),
            None => *held = Some(taken),
        }
        Ok(())
    }

    fn full(&self) -> Problem {
        let detail = format!(
            "requests that are being answered hold {} bytes of bodies, which is the limit (max_bodies_bytes); try \
            again shortly",
            self.most
        );
        Problem::new(problem::UNAVAILABLE, detail).retry_after(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_a_budget_and_give_it_back() {
        let budget = Budget::new(&Limits { bodies_bytes: 100, ..Limits::default() });
        let (one, two) = (Share::default(), Share::default());
        budget.take(&one, 40).unwrap();
        budget.take(&one, 40).unwrap();
        let refused = budget.take(&two, 21).unwrap_err();
        assert_eq!((refused.code.status, refused.retry_after), (503, Some(2)));
        assert!(refused.detail.contains("max_bodies_bytes"), "{}", refused.detail);
        budget.take(&two, 20).unwrap();
        drop(one);
        budget.take(&two, 80).unwrap();
    }
}
