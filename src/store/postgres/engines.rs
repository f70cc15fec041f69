//! Engines.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::engine::{EngineBeat, EngineRecord, NewEngine};
use crate::store::error::{Result, StoreError};
use crate::store::rows;
use crate::store::traits::EngineStore;

use super::PostgresStore;

const REGISTER: &str = include_str!("../sql/engine_register.sql");
const HEARTBEAT: &str = "UPDATE engines SET models = $1::json, load = $2, heartbeat_at = $3 WHERE id = $4";
const SINCE: &str = "SELECT * FROM engines WHERE heartbeat_at >= $1 ORDER BY started_at, id";
const REMOVE: &str = "DELETE FROM engines WHERE id = $1";
const FORGET: &str = "DELETE FROM engines WHERE heartbeat_at < $1";

#[async_trait]
impl EngineStore for PostgresStore {
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
        let (models, now) = (rows::to_json(&beat.models)?, self.now());
        let tell = || async {
            let query = sqlx::query(HEARTBEAT).bind(&models).bind(beat.load as i64).bind(now).bind(id);
            Ok(query.execute(&self.pool).await?.rows_affected())
        };
        match self.patiently(tell).await? {
            0 => Err(StoreError::NotFound { kind: "engine", id: id.to_owned() }),
            _ => Ok(()),
        }
    }

    async fn engines(&self, since: DateTime<Utc>) -> Result<Vec<EngineRecord>> {
        let read = || async { Ok(sqlx::query(SINCE).bind(since.timestamp_millis()).fetch_all(&self.pool).await?) };
        self.patiently(read).await?.iter().map(rows::engine).collect()
    }

    async fn remove_engine(&self, id: &str) -> Result<()> {
        let remove = || async { Ok(sqlx::query(REMOVE).bind(id).execute(&self.pool).await?) };
        self.patiently(remove).await.map(drop)
    }

    async fn forget_engines(&self, before: DateTime<Utc>) -> Result<u64> {
        let forget = || async { Ok(sqlx::query(FORGET).bind(before.timestamp_millis()).execute(&self.pool).await?) };
        Ok(self.patiently(forget).await?.rows_affected())
    }
}
