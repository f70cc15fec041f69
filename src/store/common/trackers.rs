//! Trackers: how far each has a run, and which server sends it more.

use std::time::Duration;

use async_trait::async_trait;
use tracing::instrument;

use crate::domain::spec::JobSpec;
use crate::domain::tracker::{TrackerKind, Tracking};
use crate::store::error::Result;
use crate::store::traits::{TrackStore, TrackerStore};
use crate::store::{millis, rows};

use super::{Row, SqlStore, Write};

const OF_RUN: &str = "SELECT * FROM trackers WHERE run_id = $1 ORDER BY tracker";
const BEGIN: &str = "INSERT INTO trackers (run_id, tracker, seq, tries, next_at) VALUES ($1, $2, 0, 0, $3) \
    ON CONFLICT (run_id, tracker) DO UPDATE SET next_at = excluded.next_at";
const WAKE: &str = "UPDATE trackers SET next_at = $1 WHERE run_id = $2";
const DUE: &str = "SELECT * FROM trackers WHERE next_at <= $1 ORDER BY next_at, run_id LIMIT $2";
/// One server gets it: the other one finds another time.
const TAKE: &str = "UPDATE trackers SET next_at = $1 WHERE run_id = $2 AND tracker = $3 AND next_at = $4";
const SETTLE: &str = "UPDATE trackers SET remote_id = $1, seq = CASE WHEN seq < $2 THEN $2 ELSE seq END, tries = $3, \
    problem = $4, next_at = $5 WHERE run_id = $6 AND tracker = $7";

#[async_trait]
impl TrackerStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(run = run_id))]
    async fn trackers(&self, run_id: &str) -> Result<Vec<Tracking>> {
        self.all(|| sqlx::query(OF_RUN).bind(run_id)).await?.iter().map(record).collect()
    }
}

#[async_trait]
impl TrackStore for SqlStore {
    #[instrument(level = "debug", skip_all)]
    async fn take_tracking(&self, most: u32, hold: Duration) -> Result<Vec<Tracking>> {
        let now = self.now();
        let due = self.all(|| sqlx::query(DUE).bind(now).bind(i64::from(most))).await?;
        let mut taken = Vec::with_capacity(due.len());
        for row in &due {
            let tracking = record(row)?;
            let mut tx = self.write().await?;
            let take = sqlx::query(TAKE).bind(now + millis(hold)).bind(&tracking.run_id);
            let take = take.bind(tracking.tracker.name()).bind(rows::int(row, "next_at")?);
            let mine = take.execute(&mut tx).await?.rows_affected() == 1;
            tx.commit().await?;
            taken.extend(mine.then_some(tracking));
        }
        Ok(taken)
    }

    #[instrument(level = "debug", skip_all, fields(run = tracking.run_id, tracker = tracking.tracker.name()))]
    async fn settle_tracking(&self, tracking: &Tracking) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(SETTLE)
            .bind(&tracking.remote_id)
            .bind(tracking.seq)
            .bind(i64::from(tracking.tries))
            .bind(&tracking.problem)
            .bind(tracking.next_at.map(|time| time.timestamp_millis()))
            .bind(&tracking.run_id)
            .bind(tracking.tracker.name())
            .execute(&mut tx)
            .await?;
        Ok(tx.commit().await?)
    }
}

/// A job begins on a run, or continues it: its trackers are to be told from where each of them is.
pub(super) async fn begin(tx: &mut Write, now: i64, run_id: &str, spec: &JobSpec) -> Result<()> {
    for tracker in &spec.report_to {
        sqlx::query(BEGIN).bind(run_id).bind(tracker.name()).bind(now).execute(&mut *tx).await?;
    }
    Ok(())
}

/// A job that had ended is tried again.
pub(super) async fn wake(tx: &mut Write, now: i64, run_id: &str) -> Result<()> {
    sqlx::query(WAKE).bind(now).bind(run_id).execute(&mut *tx).await?;
    Ok(())
}

/// A row of `trackers`.
fn record(row: &Row) -> Result<Tracking> {
    let tracker = rows::text(row, "tracker")?;
    Ok(Tracking {
        run_id: rows::text(row, "run_id")?,
        tracker: TrackerKind::from_name(&tracker).ok_or_else(|| rows::damaged("tracker", &tracker))?,
        remote_id: rows::text_or_none(row, "remote_id")?,
        seq: rows::int(row, "seq")?,
        tries: rows::count(row, "tries")?,
        problem: rows::text_or_none(row, "problem")?,
        next_at: rows::time_or_none(row, "next_at")?,
    })
}
