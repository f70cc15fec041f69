//! The store on SQLite: WAL, one writer connection per process, every write a `BEGIN IMMEDIATE` transaction.
//!
//! Several processes (server and workers) share the file. A transaction that starts as a reader and then writes can
//! fail with "database is locked" no matter how long it waits, hence `BEGIN IMMEDIATE`. Commits reach the disk before
//! they return (`synchronous = FULL`).

mod batches;
mod claim;
#[path = "../common/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod common;
mod events;
mod locks;
mod schema;
mod series;
pub(super) mod snapshot;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Executor as _, Sqlite};

use self::common::{Statement, migrate};
use crate::clock::Clock;
use crate::store::connection::{self, Deadlines, Dialect, Outage};
use crate::store::error::{Result, StoreError};
use crate::store::leases::LeaseWatch;
use crate::store::schema::Migrations;

const BEGIN: &str = "BEGIN IMMEDIATE";
/// How long a statement waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that read.
const READERS: u32 = 4;
/// A file answers, if slowly: these limits are for disks that hang. A write waits until others have finished theirs.
const DEADLINES: Deadlines =
    Deadlines { begin: Duration::from_secs(20), read: Duration::from_mins(1), write: Duration::from_mins(5) };

/// The function that turns an object of labels into rows of `key` and `value`.
const EACH_LABEL: &str = "json_each";

type Row = SqliteRow;
type Db = Sqlite;
/// A write transaction: holds the database's only write lock.
type Write = connection::Write<Sqlite>;
type Pool = connection::Pool<Sqlite>;

impl Dialect for Sqlite {
    fn roll_back(connection: &mut SqliteConnection) -> BoxFuture<'_, sqlx::Result<()>> {
        Box::pin(async move { connection.execute("ROLLBACK").await.map(drop) })
    }
}

/// [`Store`](crate::store::Store) on a SQLite file.
pub(super) struct SqlStore {
    writer: Pool,
    readers: Pool,
    clock: Arc<dyn Clock>,
    leases: LeaseWatch,
}

impl SqlStore {
    /// Opens the file; where the schema may be brought up to date, it is created with its folder if need be.
    pub(super) async fn open(path: &Path, clock: Arc<dyn Clock>, migrations: Migrations) -> Result<Self> {
        let unusable = |problem: String| StoreError::Unsupported { url: format!("sqlite:{}", path.display()), problem };
        let may_create = migrations == Migrations::Apply;
        if !may_create && !path.is_file() {
            return Err(unusable(
                "there is no such file, and with migrate = check none is created: run `vgpo migrate`".to_owned(),
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
        let _lock = schema::lock(path).await.map_err(|e| unusable(format!("cannot lock it for set-up: {e}")))?;
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone().pragma("cache_size", "-32768"))
            .await
            .map_err(|e| unusable(format!("cannot open it: {e}")))?;
        match migrations {
            Migrations::Apply => {
                let writer = pool(writer.clone());
                migrate::run(writer.begin(BEGIN).await?, clock.now()).await?;
            }
            Migrations::Check => migrate::check(&mut *writer.acquire().await?).await?,
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.row_buffer_size(512).pragma("cache_size", "-8192").pragma("query_only", "ON"))
            .await?;
        Ok(Self { writer: pool(writer), readers: pool(readers), clock, leases: LeaseWatch::default() })
    }

    /// Begins a write; waits for other writers first, so nothing read in it can change before the commit.
    async fn write(&self) -> Result<Write> {
        Ok(self.writer.begin(BEGIN).await?)
    }

    /// A write of one statement; returns its rows.
    async fn write_once(&self, statement: impl Fn() -> Statement + Send + Sync) -> Result<Vec<Row>> {
        let mut tx = self.write().await?;
        let rows = statement().fetch_all(&mut tx).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// The connections that read.
    fn reads(&self) -> &Pool {
        &self.readers
    }

    /// Asks once: a file answers, or fails for good.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        ask().await
    }

    async fn close_connections(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn now(&self) -> i64 {
        self.clock.now().timestamp_millis()
    }
}

fn pool(connections: sqlx::SqlitePool) -> Pool {
    Pool::new(connections, DEADLINES, Arc::new(Outage::default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::event::NewEvent;
    use crate::store::traits::{Database as _, EventStore as _};

    fn large() -> NewEvent {
        let data = serde_json::json!({"text": "x".repeat(1 << 20)});
        NewEvent { kind: "note".to_owned(), job_id: None, run_id: None, project: None, data }
    }

    /// Keeps the file from growing, on the writer's present connection.
    async fn limit(store: &SqlStore) {
        let mut tx = store.write().await.unwrap();
        sqlx::query("PRAGMA max_page_count = 1").execute(tx.connection().unwrap()).await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_write_that_found_the_disk_full_harms_no_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vgpo.db");
        let store = SqlStore::open(&path, Arc::new(SystemClock), Migrations::Apply).await.unwrap();
        for _ in 0..3 {
            limit(&store).await;
            let full = store.append_event(large()).await.unwrap_err();
            assert!(matches!(&full, StoreError::Unavailable(error) if error.to_string().contains("full")), "{full:?}");
            // The limit went with its connection.
            store.append_event(large()).await.unwrap();
            store.check().await.unwrap();
        }
        store.close().await;
    }

    #[tokio::test]
    async fn a_statement_that_failed_is_the_last_one_of_its_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vgpo.db");
        let store = SqlStore::open(&path, Arc::new(SystemClock), Migrations::Apply).await.unwrap();
        limit(&store).await;
        let mut tx = store.write().await.unwrap();
        let insert = "INSERT INTO facts (name, value) VALUES (?, ?)";
        sqlx::query(insert).bind("first").bind("kept?").execute(&mut tx).await.unwrap();
        sqlx::query(insert).bind("second").bind("x".repeat(1 << 20)).execute(&mut tx).await.unwrap_err();
        // SQLite has rolled everything back: a later statement would be kept without the rest.
        assert!(sqlx::query(insert).bind("third").bind("alone").execute(&mut tx).await.is_err());
        assert!(tx.commit().await.is_err());
        let kept = sqlx::query("SELECT 1 FROM facts WHERE name IN ('first', 'third')");
        assert!(kept.fetch_optional(&store.readers).await.unwrap().is_none());
        store.close().await;
    }
}
