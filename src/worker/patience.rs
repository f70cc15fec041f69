//! Retries while the database is unavailable (a restart, a failover). The attempt can continue, because no other worker
//! can claim its job without the database.

use std::time::Duration;

use crate::store::{Result, StoreError};

/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Number of tries; the store itself waits a few seconds in each.
const TRIES: u32 = 120;

/// Repeats a call while the database does not answer. If a connection breaks at the end of a write, the write may be
/// repeated, so `ask` must be idempotent.
pub(super) async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for _ in 1..TRIES {
        match ask().await {
            Err(StoreError::Unavailable(error)) => tracing::warn!(%error, "the database does not answer, waiting"),
            answer => return answer,
        }
        tokio::time::sleep(PAUSE).await;
    }
    ask().await
}
