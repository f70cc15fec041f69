//! The store on PostgreSQL: every write a short transaction at READ COMMITTED that locks the rows it decides upon.
//!
//! In which order locks are taken: `store/lock.rs`. Sequence numbers of events: `events.rs`.

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

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgRow};
use sqlx::{Executor as _, Postgres};

use self::common::{Statement, migrate};
use crate::clock::{Clock, Stopwatch};
use crate::store::connection::{self, Deadlines, Dialect, Outage};
use crate::store::error::{Result, StoreError};
use crate::store::leases::LeaseWatch;
use crate::store::schema::Migrations;

/// Connections of one process at most; they are opened when they are needed.
const CONNECTIONS: u32 = 12;
/// How long a call waits for a connection while the server is starting or every connection is busy.
const ACQUIRE: Duration = Duration::from_secs(2);
/// A server that sends nothing for this long counts as gone: it was frozen, or another one took its place without a
/// reset. Statements of a write may wait for locks (15 s) and sort through much; the server itself ends them after 55
/// s.
const DEADLINES: Deadlines =
    Deadlines { begin: Duration::from_secs(3), read: Duration::from_secs(8), write: Duration::from_mins(1) };
/// No new try after this long: the caller gets an error.
const PATIENCE: f64 = 8.0;
/// Pauses between the tries of a call that found its connection broken. Only calls that have changed nothing yet are
/// tried again: reads, and the beginning of a write.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(900),
    Duration::from_millis(1_800),
];
const SESSION: &str = include_str!("sql/session.sql");

/// The function that turns an object of labels into rows of `key` and `value`.
const EACH_LABEL: &str = "json_each_text";

type Row = PgRow;
type Db = Postgres;
type Write = connection::Write<Postgres>;
type Pool = connection::Pool<Postgres>;

impl Dialect for Postgres {
    fn roll_back(connection: &mut PgConnection) -> BoxFuture<'_, sqlx::Result<()>> {
        Box::pin(async move { connection.execute("ROLLBACK").await.map(drop) })
    }
}

/// [`Store`](crate::store::Store) on a PostgreSQL database.
pub(super) struct SqlStore {
    pool: Pool,
    clock: Arc<dyn Clock>,
    leases: LeaseWatch,
}

impl SqlStore {
    /// Connects, and brings the schema up to date where that is allowed. `shown` is the address without secrets.
    pub(super) async fn open(url: &str, shown: &str, clock: Arc<dyn Clock>, migrations: Migrations) -> Result<Self> {
        let unusable = |problem: String| StoreError::Unsupported { url: shown.to_owned(), problem };
        let options = PgConnectOptions::from_str(url)
            .map_err(|e| unusable(format!("not an address like postgres://USER:PASSWORD@HOST:5432/DATABASE: {e}")))?;
        let outage = Arc::new(Outage::default());
        let known = Arc::clone(&outage);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            // A ping of every connection before its use would cost a round trip; broken ones fail at their first
            // statement.
            .test_before_acquire(false)
            .before_acquire(move |_, meta| {
                let usable = !known.outdates(meta.age);
                Box::pin(async move { Ok(usable) })
            })
            .after_connect(|connection, _| Box::pin(async move { connection.execute(SESSION).await.map(drop) }))
            .connect_with(options.application_name("vgpo"))
            .await
            .map_err(|e| unusable(format!("cannot connect: {e}")))?;
        let pool = Pool::new(pool, DEADLINES, outage);
        match migrations {
            Migrations::Apply => {
                let write = pool.begin("BEGIN; SET LOCAL statement_timeout = 0").await?;
                migrate::run(write, clock.now()).await?;
            }
            Migrations::Check => migrate::check(pool.begin("BEGIN").await?.connection()?).await?,
        }
        Ok(Self { pool, clock, leases: LeaseWatch::default() })
    }

    /// Begins a write.
    async fn write(&self) -> Result<Write> {
        self.write_with("BEGIN").await
    }

    /// Begins a write by a statement of its own.
    async fn write_with(&self, begin: &'static str) -> Result<Write> {
        self.patiently(|| async { Ok(self.pool.begin(begin).await?) }).await
    }

    /// Tries again while the database does not answer; `ask` must change nothing.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let waited = Stopwatch::start();
        for pause in PAUSES {
            match ask().await {
                Err(StoreError::Unavailable(error)) if waited.seconds() + pause.as_secs_f64() < PATIENCE => {
                    tracing::debug!(%error, "the database does not answer");
                }
                answer => return answer,
            }
            tokio::time::sleep(pause).await;
        }
        ask().await
    }

    /// A write of one statement that may be repeated without a further effect. Returns its rows.
    async fn write_once(&self, statement: impl Fn() -> Statement + Send + Sync) -> Result<Vec<Row>> {
        self.patiently(|| async { Ok(statement().fetch_all(&self.pool).await?) }).await
    }

    /// The connections that read.
    fn reads(&self) -> &Pool {
        &self.pool
    }

    async fn close_connections(&self) {
        self.pool.close().await;
    }

    fn now(&self) -> i64 {
        self.clock.now().timestamp_millis()
    }
}
