//! Figures for monitoring.

use async_trait::async_trait;
use sqlx::Row as _;
use tracing::instrument;

use crate::domain::figures::{Figures, LeaseLoss};
use crate::store::error::Result;
use crate::store::figures::{add_counter, add_jobs, add_run, lost_leases};
use crate::store::rows;
use crate::store::traits::FigureStore;

use super::queue::longest_wait;
use super::{SqlStore, Write};

const JOBS: &str = "SELECT state, count(*) AS jobs, CAST(sum(attempt) AS BIGINT) AS claims FROM jobs GROUP BY state";
const WAITING: &str = include_str!("../sql/figures_waiting.sql");
const RUNS: &str = include_str!("../sql/figures_runs.sql");
const COUNTERS: &str = "SELECT name, value FROM counters";
const COUNT: &str = "INSERT INTO counters (name, value) VALUES ($1, $2) \
    ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value";

#[async_trait]
impl FigureStore for SqlStore {
    #[instrument(level = "debug", skip_all)]
    async fn figures(&self) -> Result<Figures> {
        let mut figures = Figures::default();
        for row in sqlx::query(JOBS).fetch_all(self.reads()).await? {
            add_jobs(&mut figures, &row)?;
        }
        let now = self.now();
        let waiting = sqlx::query(WAITING).bind(now).bind(longest_wait(now)).fetch_one(self.reads()).await?;
        let since: Option<i64> = waiting.try_get("since")?;
        figures.waiting_since = since.map(|since| rows::time_of(since, "since")).transpose()?;
        for row in sqlx::query(COUNTERS).fetch_all(self.reads()).await? {
            add_counter(&mut figures, &row)?;
        }
        for row in sqlx::query(RUNS).fetch_all(self.reads()).await? {
            add_run(&mut figures, &row)?;
        }
        Ok(figures)
    }
}

/// Counts leases that were lost, inside the transaction that takes them.
pub(super) async fn count_lost(tx: &mut Write, how: LeaseLoss, leases: usize) -> Result<()> {
    if leases > 0 {
        sqlx::query(COUNT).bind(lost_leases(how)).bind(leases as i64).execute(&mut *tx).await?;
    }
    Ok(())
}
