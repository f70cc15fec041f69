//! Workers.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::worker::{NewWorker, WorkerRecord, WorkerState};
use crate::store::error::Result;
use crate::store::rows;
use crate::store::traits::WorkerStore;

use super::{SqlStore, found};

const REGISTER: &str = include_str!("../sql/worker_register.sql");
const HEARTBEAT: &str = "UPDATE workers SET state = $1, job_id = $2, heartbeat_at = $3 WHERE id = $4 RETURNING id";
const SELECT_ONE: &str = "SELECT * FROM workers WHERE id = $1";
const SINCE: &str = "SELECT * FROM workers WHERE heartbeat_at >= $1 ORDER BY started_at DESC, id DESC";

#[async_trait]
impl WorkerStore for SqlStore {
    async fn register_worker(&self, new: NewWorker) -> Result<WorkerRecord> {
        let mut tx = self.write().await?;
        let row = sqlx::query(REGISTER)
            .bind(&new.id)
            .bind(&new.role)
            .bind(&new.version)
            .bind(&new.host)
            .bind(i64::from(new.pid))
            .bind(rows::device_name(new.device_class))
            .bind(&new.device)
            .bind(new.memory_bytes.map(|m| m as i64))
            .bind(self.now())
            .fetch_one(&mut tx)
            .await?;
        tx.commit().await?;
        rows::worker(&row)
    }

    async fn worker_heartbeat(&self, id: &str, state: WorkerState, job_id: Option<&str>) -> Result<()> {
        let now = self.now();
        let beat = || sqlx::query(HEARTBEAT).bind(state.name()).bind(job_id).bind(now).bind(id);
        found(self.write_once(beat).await?.pop(), "worker", id).map(drop)
    }

    async fn worker(&self, id: &str) -> Result<WorkerRecord> {
        let row = self.optional(|| sqlx::query(SELECT_ONE).bind(id)).await?;
        rows::worker(&found(row, "worker", id)?)
    }

    async fn workers(&self, since: DateTime<Utc>) -> Result<Vec<WorkerRecord>> {
        self.all(|| sqlx::query(SINCE).bind(since.timestamp_millis())).await?.iter().map(rows::worker).collect()
    }
}
