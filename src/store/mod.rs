//! The database: traits by concern, one folder per database, SQL in files of its own.
//!
//! The queue needs nothing but the database: a claim raises the job's attempt, and every later write of that worker
//! carries the attempt and fails once another claim or an expiry has made it outdated (fencing).

mod error;
mod sqlite;
mod traits;

use std::sync::Arc;

use crate::clock::Clock;

pub use error::{Result, StoreError};
pub use traits::{
    CheckpointStore, ClaimRequest, EventStore, Failure, IdempotencyRequest, IdempotencyState, IdempotencyStore,
    JobStore, MetricStore, ModelStore, QueueStore, RunStore, SampleStore, Store, SweepStore, WorkerStore,
};

/// Opens the database at `url`, creates it if need be and brings its schema up to date.
///
/// `sqlite:PATH` (also `sqlite://PATH`) is a file; several processes may open it at once.
pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
    let unsupported = |shown: &str, problem: &str| {
        Err(StoreError::Unsupported { url: shown.to_owned(), problem: problem.to_owned() })
    };
    match url.split_once(':') {
        Some(("sqlite", rest)) => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path.starts_with(":memory:") || path.contains('?') {
                return unsupported(url, "give the path of a file, e.g. sqlite:vgpo-data/vgpo.db, without options");
            }
            Ok(Arc::new(sqlite::SqliteStore::open(path.as_ref(), clock).await?))
        }
        // The address holds a password: it is not shown.
        Some((scheme @ ("postgres" | "postgresql"), _)) => unsupported(
            &format!("{scheme}://…"),
            "PostgreSQL is not supported yet; use sqlite:PATH, e.g. sqlite:vgpo-data/vgpo.db",
        ),
        _ => unsupported(
            url.split_once("://").map_or(url, |(scheme, _)| scheme),
            "unknown kind of database; use sqlite:PATH, e.g. sqlite:vgpo-data/vgpo.db",
        ),
    }
}
