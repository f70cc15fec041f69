//! What a server does for its database: its identity, its limits, and the files that belong to it.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use tracing::instrument;

use crate::clock::new_id;
use crate::domain::access::ProjectQuota;
use crate::store::error::Result;
use crate::store::lock::Lock;
use crate::store::traits::{DatasetHolder, ServerStore};
use crate::store::{millis, rows};

use super::{SqlStore, Write, locks};

const SELECT_ID: &str = "SELECT value FROM facts WHERE name = 'database_id'";
const INSERT_ID: &str = "INSERT INTO facts (name, value) VALUES ('database_id', $1) ON CONFLICT (name) DO NOTHING";
const PROBE: &str = "INSERT INTO facts (name, value) VALUES ('probe', $1) \
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const CLEAR_QUOTAS: &str = "DELETE FROM project_quotas";
const INSERT_QUOTA: &str = "INSERT INTO project_quotas (project, running_jobs, gpus) VALUES ($1, $2, $3)";
const HOLD: &str = "UPDATE datasets SET server = $1 WHERE id = $2 AND state IN ('uploading', 'validating')";
const HOLDERS: &str = include_str!("../sql/dataset_holders.sql");
const REMOVALS: &str = "SELECT key FROM removals ORDER BY noted_at, key";
const NOTE_REMOVAL: &str = "INSERT INTO removals (key, noted_at) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
const REMOVED: &str = "DELETE FROM removals WHERE key = $1";
const ORPHANS: &str = "SELECT key FROM orphans";
const ADOPTED: &str = "DELETE FROM orphans WHERE key = $1";
const ORPHAN: &str = "INSERT INTO orphans (key, first_seen_at, last_seen_at) VALUES ($1, $2, $2) \
    ON CONFLICT (key) DO UPDATE SET last_seen_at = excluded.last_seen_at";
const OLD_ORPHANS: &str =
    "SELECT key FROM orphans WHERE first_seen_at <= $1 AND first_seen_at < last_seen_at ORDER BY key";

#[async_trait]
impl ServerStore for SqlStore {
    #[instrument(level = "debug", skip_all)]
    async fn database_id(&self) -> Result<String> {
        if let Some(row) = self.optional(|| sqlx::query(SELECT_ID)).await? {
            return rows::text(&row, "value");
        }
        let mut tx = self.write().await?;
        sqlx::query(INSERT_ID).bind(new_id("db")).execute(&mut tx).await?;
        let row = sqlx::query(SELECT_ID).fetch_one(&mut tx).await?;
        tx.commit().await?;
        rows::text(&row, "value")
    }

    #[instrument(level = "debug", skip_all)]
    async fn set_quotas(&self, quotas: &[ProjectQuota]) -> Result<()> {
        let mut tx = self.write().await?;
        locks::take(&mut tx, Lock::Quotas).await?;
        sqlx::query(CLEAR_QUOTAS).execute(&mut tx).await?;
        for quota in quotas {
            let insert = sqlx::query(INSERT_QUOTA).bind(&quota.project).bind(quota.running_jobs.map(i64::from));
            insert.bind(quota.gpus.map(i64::from)).execute(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all, fields(dataset = id, server = server_id))]
    async fn hold_dataset(&self, id: &str, server_id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(HOLD).bind(server_id).bind(id).execute(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    #[instrument(level = "debug", skip_all)]
    async fn dataset_holders(&self) -> Result<Vec<DatasetHolder>> {
        self.all(|| sqlx::query(HOLDERS)).await?.iter().map(rows::dataset_holder).collect()
    }

    #[instrument(level = "debug", skip_all)]
    async fn removals(&self) -> Result<Vec<String>> {
        self.all(|| sqlx::query(REMOVALS)).await?.iter().map(|row| rows::text(row, "key")).collect()
    }

    #[instrument(level = "debug", skip_all, fields(key = key))]
    async fn removed(&self, key: &str) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(REMOVED).bind(key).execute(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    #[instrument(level = "debug", skip_all)]
    async fn note_orphans(&self, keys: &[String], age: Duration) -> Result<Vec<String>> {
        let now = self.now();
        let mut tx = self.write().await?;
        locks::take(&mut tx, Lock::Orphans).await?;
        for row in sqlx::query(ORPHANS).fetch_all(&mut tx).await? {
            let key: String = row.try_get("key")?;
            if !keys.contains(&key) {
                sqlx::query(ADOPTED).bind(key).execute(&mut tx).await?;
            }
        }
        for key in keys {
            sqlx::query(ORPHAN).bind(key).bind(now).execute(&mut tx).await?;
        }
        let old = sqlx::query(OLD_ORPHANS).bind(now - millis(age)).fetch_all(&mut tx).await?;
        tx.commit().await?;
        old.iter().map(|row| rows::text(row, "key")).collect()
    }
}

/// Writes a page: a disk that is full or read-only shows here.
pub(super) async fn probe(tx: &mut Write, now: i64) -> Result<()> {
    sqlx::query(PROBE).bind(now.to_string()).execute(&mut *tx).await?;
    Ok(())
}

/// Notes an artifact whose record goes with this transaction, so that its files follow even when this process dies.
pub(super) async fn note_removal(tx: &mut Write, now: i64, key: &str) -> Result<()> {
    sqlx::query(NOTE_REMOVAL).bind(key).bind(now).execute(&mut *tx).await?;
    Ok(())
}
