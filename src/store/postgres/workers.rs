//! Workers.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::worker::{NewWorker, WorkerRecord, WorkerState};
use crate::store::error::{Result, StoreError};
use crate::store::rows;
use crate::store::traits::WorkerStore;

use super::PostgresStore;

const REGISTER: &str = include_str!("sql/worker_register.sql");
const HEARTBEAT: &str = "UPDATE workers SET state = $1, job_id = $2, heartbeat_at = $3 WHERE id = $4";
const SELECT_ONE: &str = "SELECT * FROM workers WHERE id = $1";
const SINCE: &str = "SELECT * FROM workers WHERE heartbeat_at >= $1 ORDER BY started_at DESC, id DESC";

#[async_trait]
impl WorkerStore for PostgresStore {
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
        let beat = || async {
            let query = sqlx::query(HEARTBEAT).bind(state.name()).bind(job_id).bind(now).bind(id);
            Ok(query.execute(&self.pool).await?.rows_affected())
        };
        match self.patiently(beat).await? {
            0 => Err(StoreError::NotFound { kind: "worker", id: id.to_owned() }),
            _ => Ok(()),
        }
    }

    async fn worker(&self, id: &str) -> Result<WorkerRecord> {
        let read = || async { Ok(sqlx::query(SELECT_ONE).bind(id).fetch_optional(&self.pool).await?) };
        let row = self.patiently(read).await?;
        rows::worker(&row.ok_or_else(|| StoreError::NotFound { kind: "worker", id: id.to_owned() })?)
    }

    async fn workers(&self, since: DateTime<Utc>) -> Result<Vec<WorkerRecord>> {
        let read = || async { Ok(sqlx::query(SINCE).bind(since.timestamp_millis()).fetch_all(&self.pool).await?) };
        self.patiently(read).await?.iter().map(rows::worker).collect()
    }
}
