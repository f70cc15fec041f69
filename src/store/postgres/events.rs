//! Which events are seen. Transactions commit in any order, but no event appears after a greater number that was
//! already seen: writers announce themselves (see `migrations/postgres`), and readers wait for those who announced
//! themselves before.
//!
//! NOTIFY is not used: it makes commits queue up behind one lock of the whole server, and streams poll anyway.

use std::time::Duration;

use sqlx::{QueryBuilder, Row as _};

use super::{Db, Row, SqlStore};
use crate::domain::event::{EventFilter, EventSpan};
use crate::store::error::{Result, StoreError};
use crate::store::filter::push_event_filter;

const SETTLED: &str = "SELECT given, settled FROM events_settled($1)";
const FIRST: &str = "SELECT min(seq) AS first FROM events";
/// Writers hold their announcement for milliseconds. One that takes this long is stuck.
const LOOKS: u32 = 400;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

impl SqlStore {
    /// Events with a greater number, oldest first.
    pub(super) async fn later_events(&self, seq: i64, filter: &EventFilter, limit: u32) -> Result<Vec<Row>> {
        let settled = self.settled(seq).await?;
        if settled <= seq {
            return Ok(Vec::new());
        }
        let read = || async {
            let mut query = QueryBuilder::<Db>::new("SELECT * FROM events WHERE seq > ");
            query.push_bind(seq).push(" AND seq <= ").push_bind(settled);
            push_event_filter(&mut query, filter);
            query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(limit));
            Ok(query.build().persistent(false).fetch_all(self.reads()).await?)
        };
        self.patiently(read).await
    }

    /// Which events are there.
    pub(super) async fn span_of_events(&self) -> Result<EventSpan> {
        let last = self.settled(0).await?;
        let read = || async { Ok(sqlx::query(FIRST).fetch_one(self.reads()).await?.try_get("first")?) };
        Ok(EventSpan { first: self.patiently(read).await?, last })
    }

    /// Waits until every event up to the newest number given by now can be seen, and returns that number; `seen` or
    /// less when nothing is newer.
    async fn settled(&self, seen: i64) -> Result<i64> {
        let look = || async {
            let row = sqlx::query(SETTLED).bind(seen).fetch_one(self.reads()).await?;
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
        Err(StoreError::Unavailable(format!("a transaction holds up the events after number {settled}").into()))
    }
}
