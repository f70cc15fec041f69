//! Engines.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::engine::{EngineBeat, EngineRecord, NewEngine};
use crate::store::error::Result;
use crate::store::json::to_json;
use crate::store::rows;
use crate::store::traits::EngineStore;

use super::{SqlStore, found};

const REGISTER: &str = include_str!("../sql/engine_register.sql");
const HEARTBEAT: &str = "UPDATE engines SET models = $1, load = $2, heartbeat_at = $3 WHERE id = $4 RETURNING id";
const SINCE: &str = "SELECT * FROM engines WHERE heartbeat_at >= $1 ORDER BY started_at, id";
const REMOVE: &str = "DELETE FROM engines WHERE id = $1";
const FORGET: &str = "DELETE FROM engines WHERE heartbeat_at < $1 RETURNING id";

#[async_trait]
impl EngineStore for SqlStore {
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
        let (models, now) = (to_json(&beat.models)?, self.now());
        let beat = || sqlx::query(HEARTBEAT).bind(&models).bind(beat.load as i64).bind(now).bind(id);
        found(self.write_once(beat).await?.pop(), "engine", id).map(drop)
    }

    async fn engines(&self, since: DateTime<Utc>) -> Result<Vec<EngineRecord>> {
        self.all(|| sqlx::query(SINCE).bind(since.timestamp_millis())).await?.iter().map(rows::engine).collect()
    }

    async fn remove_engine(&self, id: &str) -> Result<()> {
        self.write_once(|| sqlx::query(REMOVE).bind(id)).await.map(drop)
    }

    async fn forget_engines(&self, before: DateTime<Utc>) -> Result<u64> {
        let gone = self.write_once(|| sqlx::query(FORGET).bind(before.timestamp_millis())).await?;
        Ok(gone.len() as u64)
    }
}
