//! Events. Sequence numbers follow the order of commits, because only one transaction writes at a time.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use crate::domain::event::{Event, EventFilter, EventSpan, NewEvent};
use crate::domain::job::LeaseToken;
use crate::store::change::leased_event;
use crate::store::error::Result;
use crate::store::filter::push_event_filter;
use crate::store::rows;
use crate::store::traits::EventStore;

use super::{SqliteStore, Write, guard};

const INSERT: &str =
    "INSERT INTO events (time, kind, job_id, run_id, project, data) VALUES (?, ?, ?, ?, ?, ?) RETURNING *";
const SPAN: &str = "SELECT (SELECT min(seq) FROM events) AS first, \
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) AS last";
/// Rows of one INSERT.
const ROWS: usize = 500;

#[async_trait]
impl EventStore for SqliteStore {
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
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM events WHERE seq > ");
        query.push_bind(seq);
        push_event_filter(&mut query, filter);
        query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(limit));
        query.build().fetch_all(&self.readers).await?.iter().map(rows::event).collect()
    }

    async fn event_span(&self) -> Result<EventSpan> {
        let row = sqlx::query(SPAN).fetch_one(&self.readers).await?;
        Ok(EventSpan { first: row.try_get("first")?, last: row.try_get("last")? })
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
    for chunk in events.chunks(ROWS) {
        let texts = chunk.iter().map(|e| rows::to_json(&e.data)).collect::<Result<Vec<_>>>()?;
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO events (time, kind, job_id, run_id, data) ");
        query.push_values(chunk.iter().zip(texts), |mut row, (event, text)| {
            row.push_bind(now)
                .push_bind(event.kind.clone())
                .push_bind(event.job_id.clone())
                .push_bind(event.run_id.clone())
                .push_bind(text);
        });
        query.build().persistent(chunk.len() == ROWS).execute(&mut *tx).await?;
    }
    Ok(())
}
