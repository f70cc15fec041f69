//! The database: traits by concern in two faces, calls that are written once, SQL in files of its own.
//!
//! The queue needs nothing but the database: a claim raises the job's attempt, and every later write of that worker
//! carries the attempt and fails once another claim or an expiry has made it outdated (fencing).

mod change;
mod connection;
mod error;
mod figures;
mod filter;
mod json;
mod leases;
mod lineage;
mod lock;
mod points;
mod postgres;
mod rows;
mod schema;
pub mod snapshot;
mod sqlite;
mod traits;
mod view;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::job::{JobState, Wanted};

pub use error::{Result, StoreError};
pub use schema::Migrations;
pub use traits::*;
pub use view::view;

/// Opens the database at `url`, creates it if need be and brings its schema up to date.
///
/// `sqlite:PATH` (also `sqlite://PATH`) is a file; several processes may open it at once.
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE` is a database that exists; many hosts may open it at once. Its
/// options are those of `libpq` that sqlx knows, such as `?sslmode=verify-full&sslrootcert=FILE` or
/// `?host=/run/postgresql`.
pub async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Database>> {
    open_with(url, clock, Migrations::Apply).await
}

/// The same, where `migrations` says what may happen to the schema.
pub async fn open_with(url: &str, clock: Arc<dyn Clock>, migrations: Migrations) -> Result<Arc<dyn Database>> {
    let unsupported = |shown: &str, problem: &str| {
        Err(StoreError::Unsupported { url: shown.to_owned(), problem: problem.to_owned() })
    };
    match url.split_once(':') {
        Some(("sqlite", rest)) => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path.starts_with(":memory:") || path.contains('?') {
                return unsupported(url, "give the path of a file, e.g. sqlite:vgpo-data/vgpo.db, without options");
            }
            // Boxed, both: their state is large, and every command's future would hold it.
            let opening = sqlite::SqlStore::open(path.as_ref(), clock, migrations);
            Ok(Arc::new(Box::pin(opening).await?))
        }
        Some((scheme @ ("postgres" | "postgresql"), _)) => {
            // The address may hold a password: it is not shown.
            let shown = format!("{scheme}://…");
            let opening = postgres::SqlStore::open(url, &shown, clock, migrations);
            Ok(Arc::new(Box::pin(opening).await?))
        }
        _ => unsupported(
            url.split_once("://").map_or(url, |(scheme, _)| scheme),
            "unknown kind of database; use sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE",
        ),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// The answer to the heartbeat of a worker whose job is in this state.
fn wanted(state: &str) -> Wanted {
    match JobState::from_name(state) {
        Some(JobState::Cancelling) => Wanted::Cancel,
        Some(JobState::Pausing) => Wanted::Pause,
        _ => Wanted::Continue,
    }
}
