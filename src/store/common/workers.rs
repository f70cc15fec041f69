//! Workers.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tracing::instrument;

use crate::domain::worker::WorkerRecord;
use crate::store::error::Result;
use crate::store::rows;
use crate::store::traits::WorkerStore;

use super::{SqlStore, existing};

const SELECT_ONE: &str = "SELECT * FROM workers WHERE id = $1";
const SINCE: &str = "SELECT * FROM workers WHERE heartbeat_at >= $1 ORDER BY started_at DESC, id DESC";

#[async_trait]
impl WorkerStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(worker = id))]
    async fn worker(&self, id: &str) -> Result<WorkerRecord> {
        let row = self.optional(|| sqlx::query(SELECT_ONE).bind(id)).await?;
        rows::worker(&existing(row, "worker", id)?)
    }

    #[instrument(level = "debug", skip_all)]
    async fn workers(&self, since: DateTime<Utc>) -> Result<Vec<WorkerRecord>> {
        self.all(|| sqlx::query(SINCE).bind(since.timestamp_millis())).await?.iter().map(rows::worker).collect()
    }
}
