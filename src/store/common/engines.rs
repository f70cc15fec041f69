//! Engines.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tracing::instrument;

use crate::domain::engine::EngineRecord;
use crate::store::error::Result;
use crate::store::rows;
use crate::store::traits::EngineStore;

use super::SqlStore;

const SINCE: &str = "SELECT * FROM engines WHERE heartbeat_at >= $1 ORDER BY started_at, id";

#[async_trait]
impl EngineStore for SqlStore {
    #[instrument(level = "debug", skip_all)]
    async fn engines(&self, since: DateTime<Utc>) -> Result<Vec<EngineRecord>> {
        self.all(|| sqlx::query(SINCE).bind(since.timestamp_millis())).await?.iter().map(rows::engine).collect()
    }
}
