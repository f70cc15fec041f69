//! Which events are seen: all of them. Sequence numbers follow the order of commits, because only one transaction
//! writes at a time.

use sqlx::{QueryBuilder, Row as _};

use super::{Db, Row, SqlStore};
use crate::domain::event::{EventFilter, EventSpan};
use crate::store::error::Result;
use crate::store::filter::push_event_filter;

const SPAN: &str = "SELECT (SELECT min(seq) FROM events) AS first, \
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) AS last";

impl SqlStore {
    /// Events with a greater number, oldest first.
    pub(super) async fn later_events(&self, seq: i64, filter: &EventFilter, limit: u32) -> Result<Vec<Row>> {
        let mut query = QueryBuilder::<Db>::new("SELECT * FROM events WHERE seq > ");
        query.push_bind(seq);
        push_event_filter(&mut query, filter);
        query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(limit));
        Ok(query.build().fetch_all(self.reads()).await?)
    }

    /// Which events are there.
    pub(super) async fn span_of_events(&self) -> Result<EventSpan> {
        let row = sqlx::query(SPAN).fetch_one(self.reads()).await?;
        Ok(EventSpan { first: row.try_get("first")?, last: row.try_get("last")? })
    }
}
