//! Events. In which order they are seen, and which ones yet: `events.rs` of the database.

use async_trait::async_trait;
use tracing::instrument;

use crate::domain::event::{Event, EventFilter, EventSpan, NewEvent};
use crate::store::error::Result;
use crate::store::json::to_json;
use crate::store::rows;
use crate::store::traits::EventStore;

use super::{SqlStore, Write};

const INSERT: &str = concat!(include_str!("../sql/event_insert.sql"), "VALUES ($1, $2, $3, $4, $5, $6) RETURNING *");

#[async_trait]
impl EventStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(kind = event.kind))]
    async fn append_event(&self, event: NewEvent) -> Result<Event> {
        let mut tx = self.write().await?;
        let event = insert(&mut tx, self.now(), &event).await?;
        tx.commit().await?;
        Ok(event)
    }

    #[instrument(level = "debug", skip_all)]
    async fn events_after(&self, seq: i64, filter: &EventFilter, limit: u32) -> Result<Vec<Event>> {
        self.later_events(seq, filter, limit).await?.iter().map(rows::event).collect()
    }

    #[instrument(level = "debug", skip_all)]
    async fn event_span(&self) -> Result<EventSpan> {
        self.span_of_events().await
    }
}

/// Writes one event in a transaction.
pub(in super::super) async fn insert(tx: &mut Write, now: i64, event: &NewEvent) -> Result<Event> {
    let row = sqlx::query(INSERT)
        .bind(now)
        .bind(&event.kind)
        .bind(&event.job_id)
        .bind(&event.run_id)
        .bind(&event.project)
        .bind(to_json(&event.data)?)
        .fetch_one(&mut *tx)
        .await?;
    rows::event(&row)
}
