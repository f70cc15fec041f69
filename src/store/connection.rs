//! Connections with a deadline for every statement. One that is silent, broken or left inside a transaction is thrown
//! away.
//!
//! This is the only place where statements meet a connection. sqlx counts transactions on the client's side and
//! trusts its count: a transaction that SQLite has rolled back by itself (disk full, I/O error, out of memory), or a
//! `BEGIN` whose caller is gone, leaves that count wrong for as long as the connection lives. Here a transaction
//! begins and ends by statements, and its connection is used again only when it was committed, or when a `ROLLBACK`
//! was answered.

use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Either, Execute, Executor, SqlStr};
use tokio::runtime::Handle;

use crate::clock::Stopwatch;
use crate::store::error::breaks_connection;

/// How long a connection has to end its transaction, and to show that it is alive, before it is thrown away.
const SETTLE: Duration = Duration::from_secs(5);
/// How long the connections of a store have to close.
const CLOSE: Duration = Duration::from_secs(30);

/// A kind of database.
pub(super) trait Dialect: Database {
    /// The statement that rolls back the transaction of a connection.
    fn roll_back(connection: &mut Self::Connection) -> BoxFuture<'_, sqlx::Result<()>>;
}

/// How long one statement may take before its connection is thrown away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// The beginning of a write, which waits for no rows.
    pub begin: Duration,
    /// A statement that only reads.
    pub read: Duration,
    /// A statement inside of a write, and its commit.
    pub write: Duration,
}

/// When a connection was last found silent or broken: those that are older than that are not used again. After a
/// fail-over without a reset the first one costs a deadline, and not every idle one of the pool.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Stopwatch>>);

impl Outage {
    fn begin(&self) {
        *self.0.lock() = Some(Stopwatch::start());
    }

    /// Was a connection of this age opened before the last outage?
    pub(super) fn outdates(&self, age: Duration) -> bool {
        let since = *self.0.lock();
        since.is_some_and(|since| since.seconds() < age.as_secs_f64())
    }
}

/// Connections for reads, which are executed on it, and for [writes](Self::begin).
pub(super) struct Pool<DB: Dialect> {
    connections: sqlx::Pool<DB>,
    deadlines: Deadlines,
    outage: Arc<Outage>,
}

impl<DB: Dialect> Pool<DB> {
    /// Connections with these deadlines; the pool should refuse those that `outage` outdates.
    pub(super) fn new(connections: sqlx::Pool<DB>, deadlines: Deadlines, outage: Arc<Outage>) -> Self {
        Self { connections, deadlines, outage }
    }

    async fn link(&self) -> sqlx::Result<Link<DB>> {
        // Boxed: its state is large, and every caller's future would hold it.
        let connection = Some(Box::pin(self.connections.acquire()).await?);
        let outage = Arc::clone(&self.outage);
        Ok(Link { connection, outage, in_transaction: false, asking: false, broken: false })
    }

    /// Begins a write with this statement.
    pub(super) async fn begin(&self, statement: &'static str) -> sqlx::Result<Write<DB>>
    where
        for<'a> &'a mut DB::Connection: Executor<'a, Database = DB>,
    {
        let mut write = Write { link: self.link().await?, deadline: self.deadlines.write, failed: false };
        // From here on a caller that goes away leaves something to be rolled back.
        write.link.in_transaction = true;
        let begun = timed(self.deadlines.begin, write.link.ask()?.execute(statement)).await;
        write.hear(begun)?;
        Ok(write)
    }

    /// Closes the connections; those that do not answer are left to the end of the process.
    pub(super) async fn close(&self) {
        if tokio::time::timeout(CLOSE, self.connections.close()).await.is_err() {
            tracing::warn!("some connections to the database did not close in time");
        }
    }
}

impl<DB: Dialect> Debug for Pool<DB> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// A write transaction; dropped before [`commit`](Self::commit), nothing of it stays.
pub(super) struct Write<DB: Dialect> {
    link: Link<DB>,
    deadline: Duration,
    /// Did a statement fail? SQLite would continue outside of the transaction.
    failed: bool,
}

impl<DB: Dialect> Write<DB> {
    /// The connection itself, for statements without a deadline, such as migrations.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut DB::Connection> {
        self.link.connection()
    }

    /// Commits it.
    pub(super) async fn commit(mut self) -> sqlx::Result<()>
    where
        for<'a> &'a mut DB::Connection: Executor<'a, Database = DB>,
    {
        let limit = self.deadline;
        let committed = timed(limit, self.ask()?.execute("COMMIT")).await;
        self.hear(committed)?;
        self.link.in_transaction = false;
        Ok(())
    }

    fn ask(&mut self) -> sqlx::Result<&mut DB::Connection> {
        if self.failed {
            let problem = "a statement of this transaction failed: nothing of it is kept";
            return Err(sqlx::Error::Protocol(problem.to_owned()));
        }
        self.link.ask()
    }

    fn hear<T>(&mut self, answer: sqlx::Result<T>) -> sqlx::Result<T> {
        self.failed |= answer.is_err();
        self.link.hear(answer)
    }
}

impl<DB: Dialect> Debug for Write<DB> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// A connection in use.
struct Link<DB: Dialect> {
    /// None only while it is dropped.
    connection: Option<PoolConnection<DB>>,
    outage: Arc<Outage>,
    in_transaction: bool,
    /// Is an answer pending? Still so when the connection is dropped before the answer came.
    asking: bool,
    broken: bool,
}

impl<DB: Dialect> Link<DB> {
    fn connection(&mut self) -> sqlx::Result<&mut DB::Connection> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// The connection, for one statement, whose answer goes to [`hear`](Self::hear).
    fn ask(&mut self) -> sqlx::Result<&mut DB::Connection> {
        self.asking = true;
        self.connection()
    }

    fn hear<T>(&mut self, answer: sqlx::Result<T>) -> sqlx::Result<T> {
        self.asking = false;
        if answer.as_ref().is_err_and(breaks_connection) {
            self.broken = true;
            self.outage.begin();
        }
        answer
    }
}

impl<DB: Dialect> Drop for Link<DB> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match Handle::try_current() {
            Ok(runtime) if !self.broken => {
                let (unsettled, outage) = (self.in_transaction, Arc::clone(&self.outage));
                runtime.spawn(give_back(connection, unsettled, outage));
            }
            // Without closing it properly: the other end would not answer.
            _ => drop(connection.detach()),
        }
    }
}

/// Returns a connection to its pool after its transaction; drops it where that does not succeed soon.
async fn give_back<DB: Dialect>(mut connection: PoolConnection<DB>, unsettled: bool, outage: Arc<Outage>) {
    if unsettled && timed(SETTLE, DB::roll_back(&mut connection)).await.is_err() {
        drop(connection.detach());
        return;
    }
    // The pool pings the connection, and would wait for the answer without a limit.
    if tokio::time::timeout(SETTLE, connection.return_to_pool()).await.is_err() {
        outage.begin();
    }
}

async fn timed<T>(limit: Duration, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(sqlx::Error::Io(late())))
}

/// The parts of a statement's result.
type Part<DB> = Either<<DB as Database>::QueryResult, <DB as Database>::Row>;

fn parts<'e, DB: Dialect>(
    all: impl Future<Output = sqlx::Result<Vec<Part<DB>>>> + Send + 'e,
) -> BoxStream<'e, sqlx::Result<Part<DB>>> {
    stream::once(all).map_ok(|all| stream::iter(all.into_iter().map(Ok))).try_flatten().boxed()
}

/// A read on any of the connections.
impl<'c, DB: Dialect> Executor<'c> for &'c Pool<DB>
where
    for<'a> &'a mut DB::Connection: Executor<'a, Database = DB>,
{
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Part<DB>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        parts::<DB>(async move {
            let mut link = self.link().await?;
            let result = timed(self.deadlines.read, link.ask()?.fetch_many(query).try_collect()).await;
            link.hear(result)
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<DB::Row>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(async move {
            let mut link = self.link().await?;
            let result = timed(self.deadlines.read, link.ask()?.fetch_optional(query)).await;
            link.hear(result)
        })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [DB::TypeInfo]) -> BoxFuture<'e, sqlx::Result<DB::Statement>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let mut link = self.link().await?;
            let prepared = timed(self.deadlines.read, link.ask()?.prepare_with(sql, parameters)).await;
            link.hear(prepared)
        })
    }
}

/// A statement of a transaction.
impl<'c, DB: Dialect> Executor<'c> for &'c mut Write<DB>
where
    for<'a> &'a mut DB::Connection: Executor<'a, Database = DB>,
{
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Part<DB>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        parts::<DB>(async move {
            let limit = self.deadline;
            let result = timed(limit, self.ask()?.fetch_many(query).try_collect()).await;
            self.hear(result)
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<DB::Row>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(async move {
            let limit = self.deadline;
            let result = timed(limit, self.ask()?.fetch_optional(query)).await;
            self.hear(result)
        })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [DB::TypeInfo]) -> BoxFuture<'e, sqlx::Result<DB::Statement>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let limit = self.deadline;
            let prepared = timed(limit, self.ask()?.prepare_with(sql, parameters)).await;
            self.hear(prepared)
        })
    }
}
