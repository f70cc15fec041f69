//! Events. Transactions commit in any order, but no event appears behind a greater number that was already seen:
//! writers announce themselves (see `migrations/postgres`), and readers wait for those who announced themselves before.
//!
//! NOTIFY is not used: it makes commits queue up behind one lock of the whole server, and streams poll anyway.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{QueryBuilder, Row as _};

use crate::domain::event::{Event, EventFilter, EventSpan, NewEvent};
use crate::domain::job::LeaseToken;
use crate::store::change::leased_event;
use crate::store::error::{Result, StoreError};
use crate::store::filter::push_event_filter;
use crate::store::rows;
use crate::store::traits::EventStore;

use super::{PostgresStore, Write, guard};

const INSERT: &str =
    "INSERT INTO events (time, kind, job_id, run_id, project, data) VALUES ($1, $2, $3, $4, $5, $6::json) RETURNING *";
const INSERT_MANY: &str = include_str!("sql/events_insert.sql");
const SETTLED: &str = "SELECT given, settled FROM events_settled($1)";
const FIRST: &str = "SELECT min(seq) AS first FROM events";
/// Writers hold their announcement for milliseconds. One that takes this long is stuck.
const LOOKS: u32 = 400;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[async_trait]
impl EventStore for PostgresStore {
    async fn append_event(&self, event: NewEvent) -> Result<Event> {
        let mut tx = self.write().await?;
        let event = insert(&mut tx, self.now(), &event).await?;
        tx.commit().await?;
        Ok(event)
    }

    async fn append_job_event(&self, token: &LeaseToken, kind: &str, data: serde_json::Value) -> Result<Event> {
        let event = leased_event(token, kind, data);
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        let event = insert(&mut tx, self.now(), &event).await?;
        tx.commit().await?;
        Ok(event)
    }

    async fn events_after(&self, seq: i64, filter: &EventFilter, limit: u32) -> Result<Vec<Event>> {
        let settled = self.settled(seq).await?;
        if settled <= seq {
            return Ok(Vec::new());
        }
        let read = || async {
            let mut query = QueryBuilder::new("SELECT * FROM events WHERE seq > ");
            query.push_bind(seq).push(" AND seq <= ").push_bind(settled);
            push_event_filter(&mut query, filter);
            query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(limit));
            query.build().persistent(false).fetch_all(&self.pool).await?.iter().map(rows::event).collect()
        };
        self.patiently(read).await
    }

    async fn event_span(&self) -> Result<EventSpan> {
        let last = self.settled(0).await?;
        let first =
            self.patiently(|| async { Ok(sqlx::query(FIRST).fetch_one(&self.pool).await?.try_get("first")?) }).await?;
        Ok(EventSpan { first, last })
    }
}

impl PostgresStore {
    /// Waits until every event up to the newest number given by now can be seen, and returns that number; `seen` or
    /// less when nothing is newer.
    async fn settled(&self, seen: i64) -> Result<i64> {
        let look = || async {
            let row = sqlx::query(SETTLED).bind(seen).fetch_one(&self.pool).await?;
            Ok((row.try_get::<i64, _>("given")?, row.try_get::<i64, _>("settled")?))
        };
        let (wanted, mut settled) = self.patiently(look).await?;
        for _ in 0..LOOKS {
            if settled >= wanted {
                return Ok(wanted);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            settled = self.patiently(look).await?.1;
        }
        Err(StoreError::Unavailable(format!("a transaction holds up the events behind number {settled}").into()))
    }
}

/// Writes one event in a transaction.
pub(super) async fn insert(tx: &mut Write, now: i64, event: &NewEvent) -> Result<Event> {
    let row = sqlx::query(INSERT)
        .bind(now)
        .bind(&event.kind)
        .bind(&event.job_id)
        .bind(&event.run_id)
        .bind(&event.project)
        .bind(rows::to_json(&event.data)?)
        .fetch_one(&mut *tx)
        .await?;
    rows::event(&row)
}

/// Writes many events in a transaction, in their order.
pub(super) async fn insert_many(tx: &mut Write, now: i64, events: &[NewEvent]) -> Result<()> {
    let texts = events.iter().map(|e| rows::to_json(&e.data)).collect::<Result<Vec<_>>>()?;
    sqlx::query(INSERT_MANY)
        .bind(now)
        .bind(events.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.job_id.as_deref()).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.run_id.as_deref()).collect::<Vec<_>>())
        .bind(texts)
        .execute(&mut *tx)
        .await?;
    Ok(())
}
