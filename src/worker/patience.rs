//! A database that goes away for a while (a restart, a failover) does not end an attempt: nobody else can take the
//! job while nobody can reach the database.

use std::time::Duration;

use crate::store::{Result, StoreError};

/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// How often is tried; the store itself waits a few seconds in each.
const TRIES: u32 = 120;

/// Calls the store again while the database does not answer. A write whose connection broke at its very end may
/// arrive twice: `ask` must bear that.
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
