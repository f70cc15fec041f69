//! Signs of life of workers, engines and servers.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Row as _;
use tracing::instrument;

use crate::domain::engine::{EngineBeat, EngineRecord, NewEngine};
use crate::domain::spec::DeviceClass;
use crate::domain::worker::{NewWorker, WorkerRecord, WorkerState};
use crate::store::error::Result;
use crate::store::json::to_json;
use crate::store::traits::PresenceStore;
use crate::store::{millis, rows};

use super::{SqlStore, existing};

const REGISTER_WORKER: &str = include_str!("../sql/worker_register.sql");
const WORKER_BEAT: &str = "UPDATE workers SET state = $1, job_id = $2, heartbeat_at = $3 WHERE id = $4 RETURNING id";
const IDLE: &str =
    "SELECT count(*) AS idle FROM workers WHERE state = 'idle' AND device_class = $1 AND heartbeat_at >= $2";
const REGISTER_ENGINE: &str = include_str!("../sql/engine_register.sql");
const ENGINE_BEAT: &str = "UPDATE engines SET models = $1, load = $2, heartbeat_at = $3 WHERE id = $4 RETURNING id";
const REMOVE_ENGINE: &str = "DELETE FROM engines WHERE id = $1";
const FORGET_ENGINES: &str = "DELETE FROM engines WHERE heartbeat_at < $1 RETURNING id";
const SERVER_BEAT: &str = "INSERT INTO servers (id, host, started_at, heartbeat_at) VALUES ($1, $2, $3, $3) \
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at";
const FORGET_SERVERS: &str = "DELETE FROM servers WHERE heartbeat_at < $1";
/// Servers that were silent for so long are forgotten.
const REMEMBERED: Duration = Duration::from_hours(30 * 24);

#[async_trait]
impl PresenceStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(worker = new.id))]
    async fn register_worker(&self, new: NewWorker) -> Result<WorkerRecord> {
        let mut tx = self.write().await?;
        let row = sqlx::query(REGISTER_WORKER)
            .bind(&new.id)
            .bind(&new.role)
            .bind(&new.version)
            .bind(&new.host)
            .bind(i64::from(new.pid))
            .bind(rows::device_name(new.device_class))
            .bind(&new.device)
            .bind(new.memory_bytes.map(|m| m as i64))
            .bind(i64::from(new.ranks))
            .bind(self.now())
            .fetch_one(&mut tx)
            .await?;
        tx.commit().await?;
        rows::worker(&row)
    }

    #[instrument(level = "debug", skip_all, fields(worker = id))]
    async fn worker_heartbeat(&self, id: &str, state: WorkerState, job_id: Option<&str>) -> Result<()> {
        let now = self.now();
        let beat = || sqlx::query(WORKER_BEAT).bind(state.name()).bind(job_id).bind(now).bind(id);
        existing(self.write_once(beat).await?.pop(), "worker", id).map(drop)
    }

    #[instrument(level = "debug", skip_all)]
    async fn idle_workers(&self, device: DeviceClass, since: DateTime<Utc>) -> Result<u64> {
        let read = || sqlx::query(IDLE).bind(rows::device_name(device)).bind(since.timestamp_millis());
        Ok(self.one(read).await?.try_get::<i64, _>("idle")?.unsigned_abs())
    }

    #[instrument(level = "debug", skip_all, fields(engine = new.id))]
    async fn register_engine(&self, new: NewEngine) -> Result<EngineRecord> {
        let mut tx = self.write().await?;
        let row = sqlx::query(REGISTER_ENGINE)
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

    #[instrument(level = "debug", skip_all, fields(engine = id))]
    async fn engine_heartbeat(&self, id: &str, beat: &EngineBeat) -> Result<()> {
        let (models, now) = (to_json(&beat.models)?, self.now());
        let beat = || sqlx::query(ENGINE_BEAT).bind(&models).bind(beat.load as i64).bind(now).bind(id);
        existing(self.write_once(beat).await?.pop(), "engine", id).map(drop)
    }

    #[instrument(level = "debug", skip_all, fields(engine = id))]
    async fn remove_engine(&self, id: &str) -> Result<()> {
        self.write_once(|| sqlx::query(REMOVE_ENGINE).bind(id)).await.map(drop)
    }

    #[instrument(level = "debug", skip_all)]
    async fn forget_engines(&self, before: DateTime<Utc>) -> Result<u64> {
        let gone = self.write_once(|| sqlx::query(FORGET_ENGINES).bind(before.timestamp_millis())).await?;
        Ok(gone.len() as u64)
    }

    #[instrument(level = "debug", skip_all, fields(server = id))]
    async fn server_heartbeat(&self, id: &str, host: &str) -> Result<()> {
        let now = self.now();
        let mut tx = self.write().await?;
        sqlx::query(SERVER_BEAT).bind(id).bind(host).bind(now).execute(&mut tx).await?;
        sqlx::query(FORGET_SERVERS).bind(now - millis(REMEMBERED)).execute(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}
