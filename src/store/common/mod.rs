//! The store, written once and compiled for each database: `sqlite/mod.rs` and `postgres/mod.rs` include this folder
//! as a module of their own, so that `super` here is one database or the other.
//!
//! A database brings what differs: its types and connections (`mod.rs`), how rows are locked (`locks.rs`), how a job
//! is claimed (`claim.rs`), how many rows are written at once (`batches.rs`), in which order events are seen
//! (`events.rs`), how a whole series is read (`series.rs`), and its schema (`migrate.rs`).

mod access;
mod alerts;
mod attempt;
mod checkpoints;
mod door;
mod engines;
pub(super) mod events;
pub(super) mod figures;
mod idempotency;
mod jobs;
mod metrics;
pub(super) mod migrate;
mod models;
mod presence;
pub(super) mod queue;
mod quotas;
mod retention;
mod runs;
mod samples;
mod servers;
mod sweeps;
mod trackers;
pub(super) mod transition;
mod workers;

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::{QueryBuilder, Row as _};
use tracing::instrument;

use super::{Db, EACH_LABEL, Row, SqlStore, Write, batches, claim, locks, schema, series};
use crate::store::error::{Result, StoreError};
use crate::store::rows::Record;
use crate::store::traits::{Database, Store, WorkStore};

/// A statement with the values that are bound to it.
pub(super) type Statement = Query<'static, Db, <Db as sqlx::Database>::Arguments>;

/// Reads, which are tried again where the database does not answer at once.
impl SqlStore {
    /// The only row of a read.
    async fn one(&self, statement: impl Fn() -> Statement + Send + Sync) -> Result<Row> {
        self.patiently(|| async { Ok(statement().fetch_one(self.reads()).await?) }).await
    }

    /// The row of a read, if there is one.
    async fn optional(&self, statement: impl Fn() -> Statement + Send + Sync) -> Result<Option<Row>> {
        self.patiently(|| async { Ok(statement().fetch_optional(self.reads()).await?) }).await
    }

    /// Every row of a read.
    async fn all(&self, statement: impl Fn() -> Statement + Send + Sync) -> Result<Vec<Row>> {
        self.patiently(|| async { Ok(statement().fetch_all(self.reads()).await?) }).await
    }

    /// The rows of a list, whose statement depends on its filter and is not kept prepared.
    async fn listed(&self, list: impl Fn() -> QueryBuilder<Db> + Send + Sync) -> Result<Vec<Row>> {
        self.patiently(|| async { Ok(list().build().persistent(false).fetch_all(self.reads()).await?) }).await
    }
}

impl Store for SqlStore {}
impl WorkStore for SqlStore {}

#[async_trait]
impl Database for SqlStore {
    #[instrument(level = "debug", skip_all)]
    async fn check(&self) -> Result<()> {
        // A write proves more than a read: a standby, a full or a read-only disk shows here.
        let mut tx = self.write().await?;
        migrate::check(tx.connection()?).await?;
        servers::probe(&mut tx, self.now()).await?;
        Ok(tx.commit().await?)
    }

    #[instrument(level = "debug", skip_all)]
    async fn close(&self) {
        self.close_connections().await;
    }
}

/// A row that must be there.
fn existing(row: Option<Row>, kind: &'static str, id: &str) -> Result<Row> {
    row.ok_or_else(|| StoreError::NotFound { kind, id: id.to_owned() })
}

/// The column `id` of every row.
fn ids(rows: &[Row]) -> Result<Vec<String>> {
    rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
}

impl Record for Row {
    fn text_or_none(&self, column: &str) -> Result<Option<&str>> {
        Ok(self.try_get(column)?)
    }

    fn int_or_none(&self, column: &str) -> Result<Option<i64>> {
        Ok(self.try_get(column)?)
    }

    fn real_or_none(&self, column: &str) -> Result<Option<f64>> {
        Ok(self.try_get(column)?)
    }

    fn flag(&self, column: &str) -> Result<bool> {
        Ok(self.try_get(column)?)
    }

    fn json(&self, column: &str) -> Result<&str> {
        // Values of a type JSON travel as their text.
        Ok(self.try_get_unchecked(column)?)
    }
}
