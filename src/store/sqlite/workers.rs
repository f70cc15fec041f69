//! Workers.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::worker::{NewWorker, WorkerRecord, WorkerState};
use crate::store::error::{Result, StoreError};
use crate::store::rows;
use crate::store::traits::WorkerStore;

use super::SqliteStore;

const REGISTER: &str = include_str!("sql/worker_register.sql");
const HEARTBEAT: &str = "UPDATE workers SET state = ?, job_id = ?, heartbeat_at = ? WHERE id = ?";
const SINCE: &str = "SELECT * FROM workers WHERE heartbeat_at >= ? ORDER BY started_at DESC, id DESC";

#[async_trait]
impl WorkerStore for SqliteStore {
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
        let mut tx = self.write().await?;
        let done =
            sqlx::query(HEARTBEAT).bind(state.name()).bind(job_id).bind(self.now()).bind(id).execute(&mut tx).await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound { kind: "worker", id: id.to_owned() });
        }
        tx.commit().await?;
        Ok(())
    }

    async fn worker(&self, id: &str) -> Result<WorkerRecord> {
        let row = sqlx::query("SELECT * FROM workers WHERE id = ?").bind(id).fetch_optional(&self.readers).await?;
        rows::worker(&row.ok_or_else(|| StoreError::NotFound { kind: "worker", id: id.to_owned() })?)
    }

    async fn workers(&self, since: DateTime<Utc>) -> Result<Vec<WorkerRecord>> {
        let found = sqlx::query(SINCE).bind(since.timestamp_millis()).fetch_all(&self.readers).await?;
        found.iter().map(rows::worker).collect()
    }
}
