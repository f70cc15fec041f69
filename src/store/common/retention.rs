//! What is old enough to go, in small batches: each is a short transaction, so that no other write waits for long.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tracing::instrument;

use crate::store::error::Result;
use crate::store::traits::RetentionStore;

use super::{SqlStore, ids};

const EVENTS: &str = include_str!("../sql/prune_events.sql");
const SAMPLES: &str = include_str!("../sql/prune_samples.sql");
const POINTS: &str = include_str!("../sql/prune_points.sql");
const CHECKPOINTS: &str = include_str!("../sql/prunable_checkpoints.sql");

#[async_trait]
impl RetentionStore for SqlStore {
    #[instrument(level = "debug", skip_all)]
    async fn prune_events(&self, before: DateTime<Utc>, most: u32) -> Result<u64> {
        self.delete(EVENTS, before, most).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn prune_samples(&self, ended_before: DateTime<Utc>, most: u32) -> Result<u64> {
        self.delete(SAMPLES, ended_before, most).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn prune_points(&self, ended_before: DateTime<Utc>, most: u32) -> Result<u64> {
        self.delete(POINTS, ended_before, most).await
    }

    #[instrument(level = "debug", skip_all)]
    async fn prunable_checkpoints(&self, ended_before: DateTime<Utc>, after: &str, most: u32) -> Result<Vec<String>> {
        let query = sqlx::query(CHECKPOINTS).bind(ended_before.timestamp_millis()).bind(after).bind(i64::from(most));
        ids(&query.fetch_all(self.reads()).await?)
    }
}

impl SqlStore {
    async fn delete(&self, sql: &'static str, before: DateTime<Utc>, most: u32) -> Result<u64> {
        let mut tx = self.write().await?;
        let done = sqlx::query(sql).bind(before.timestamp_millis()).bind(i64::from(most)).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}
