//! Engines.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::engine::{EngineBeat, EngineRecord, NewEngine};
use crate::store::error::{Result, StoreError};
use crate::store::rows;
use crate::store::traits::EngineStore;

use super::SqliteStore;

const REGISTER: &str = include_str!("../sql/engine_register.sql");
const HEARTBEAT: &str = "UPDATE engines SET models = ?, load = ?, heartbeat_at = ? WHERE id = ?";
const SINCE: &str = "SELECT * FROM engines WHERE heartbeat_at >= ? ORDER BY started_at, id";
const REMOVE: &str = "DELETE FROM engines WHERE id = ?";
const FORGET: &str = "DELETE FROM engines WHERE heartbeat_at < ?";

#[async_trait]
impl EngineStore for SqliteStore {
    async fn register_engine(&self, new: NewEngine) -> Result<EngineRecord> {
        let mut tx = self.write().await?;
        let row = sqlx::query(REGISTER)
            .bind(&new.id)
            .bind(&new.address)
            .bind(&new.version)
            .bind(&new.host)
            .bind(&new.device)
            .bind(self.now())
            .fetch_one(&mut tx)
            .await?;
        tx.commit().await?;
        rows::engine(&row)
    }

    async fn engine_heartbeat(&self, id: &str, beat: &EngineBeat) -> Result<()> {
        let mut tx = self.write().await?;
        let query = sqlx::query(HEARTBEAT).bind(rows::to_json(&beat.models)?).bind(beat.load as i64);
        let done = query.bind(self.now()).bind(id).execute(&mut tx).await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound { kind: "engine", id: id.to_owned() });
        }
        tx.commit().await?;
        Ok(())
    }

    async fn engines(&self, since: DateTime<Utc>) -> Result<Vec<EngineRecord>> {
        let found = sqlx::query(SINCE).bind(since.timestamp_millis()).fetch_all(&self.readers).await?;
        found.iter().map(rows::engine).collect()
    }

    async fn remove_engine(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(REMOVE).bind(id).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn forget_engines(&self, before: DateTime<Utc>) -> Result<u64> {
        let mut tx = self.write().await?;
        let gone = sqlx::query(FORGET).bind(before.timestamp_millis()).execute(&mut tx).await?.rows_affected();
        tx.commit().await?;
        Ok(gone)
    }
}
