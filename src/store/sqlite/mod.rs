//! The store on SQLite: WAL, one writer connection per process, every write a `BEGIN IMMEDIATE` transaction.
//!
//! Several processes (server and workers) share the file. A transaction that starts as a reader and then writes can
//! fail with "database is locked" no matter how long it waits, hence `BEGIN IMMEDIATE`. Commits reach the disk before
//! they return (`synchronous = FULL`).

mod access;
mod checkpoints;
mod engines;
mod events;
mod figures;
mod idempotency;
mod jobs;
mod metrics;
mod migrate;
mod models;
mod queue;
mod quotas;
mod retention;
mod runs;
mod samples;
pub(super) mod snapshot;
mod sweeps;
mod transition;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, Sqlite, Transaction};

use crate::clock::Clock;
use crate::domain::job::LeaseToken;
use crate::store::error::{Result, StoreError, lease_lost};
use crate::store::rows::Record;
use crate::store::schema::Migrations;
use crate::store::traits::Store;

/// How long a statement waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that read.
const READERS: u32 = 4;

/// A write transaction: holds the database's only write lock.
type Write = Transaction<'static, Sqlite>;

/// [`Store`] on a SQLite file.
pub(super) struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    clock: Arc<dyn Clock>,
}

impl SqliteStore {
    /// Opens the file; where the schema may be brought up to date, it is created with its folder if need be.
    pub(super) async fn open(path: &Path, clock: Arc<dyn Clock>, migrations: Migrations) -> Result<Self> {
        let unusable = |problem: String| StoreError::Unsupported { url: format!("sqlite:{}", path.display()), problem };
        let may_create = migrations == Migrations::Apply;
        if !may_create && !path.is_file() {
            return Err(unusable(
                "there is no such file, and migrate = check makes none: run `vgpo migrate`".to_owned(),
            ));
        }
        if let Some(folder) = path.parent().filter(|p| may_create && !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|e| unusable(format!("cannot create the folder {}: {e}", folder.display())))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(may_create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("journal_size_limit", "67108864");
        // Switching a new file to WAL does not honour the busy timeout, and SQLite has no migration lock: a file
        // lock lets one process through at a time.
        let _lock = migrate::lock(path).await.map_err(|e| unusable(format!("cannot lock it for set-up: {e}")))?;
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone().pragma("cache_size", "-32768"))
            .await
            .map_err(|e| unusable(format!("cannot open it: {e}")))?;
        match migrations {
            Migrations::Apply => migrate::run(&writer, clock.now()).await?,
            Migrations::Check => migrate::check(&mut *writer.acquire().await?).await?,
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.row_buffer_size(512).pragma("cache_size", "-8192").pragma("query_only", "ON"))
            .await?;
        Ok(Self { writer, readers, clock })
    }

    /// Begins a write; waits for other writers first, so nothing read in it can change before the commit.
    async fn write(&self) -> Result<Write> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    fn now(&self) -> i64 {
        self.clock.now().timestamp_millis()
    }
}

/// Fails unless the token's attempt is the one that holds the job.
async fn guard(tx: &mut Write, token: &LeaseToken) -> Result<()> {
    const HELD: &str = "SELECT 1 FROM jobs WHERE id = ? AND run_id = ? AND attempt = ? AND lease_worker IS NOT NULL";
    let held = sqlx::query(HELD)
        .bind(&token.job_id)
        .bind(&token.run_id)
        .bind(i64::from(token.attempt))
        .fetch_optional(&mut **tx)
        .await?;
    match held {
        Some(_) => Ok(()),
        None => Err(lease_lost(token)),
    }
}

impl Record for SqliteRow {
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
        Ok(self.try_get(column)?)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn check(&self) -> Result<()> {
        // Taking the write lock and letting it go proves more than a read: a full or read-only disk shows here.
        let mut tx = self.write().await?;
        let checked = migrate::check(&mut tx).await;
        tx.rollback().await?;
        checked
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
