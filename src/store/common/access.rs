//! API keys and the audit log.

use async_trait::async_trait;
use sqlx::QueryBuilder;
use tracing::instrument;

use crate::clock::new_id;
use crate::domain::access::{ApiKey, AuditEntry, NewAudit, NewKey};
use crate::domain::page::{Listing, Page};
use crate::store::error::Result;
use crate::store::filter::push_page;
use crate::store::rows;
use crate::store::traits::{AccessStore, Once};

use super::{Db, SqlStore, existing, idempotency};

const INSERT_KEY: &str = "INSERT INTO api_keys (id, name, role, project, prefix, hash, created_by, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *";
const REVOKE: &str = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $1) WHERE id = $2 RETURNING *";
const FORGET_TICKETS: &str = "DELETE FROM tickets WHERE key_id = $1";
const INSERT_AUDIT: &str =
    "INSERT INTO audit (time, key_id, project, action, target, detail) VALUES ($1, $2, $3, $4, $5, $6) RETURNING *";
const AUDIT: &str = "SELECT * FROM audit WHERE $1 IS NULL OR seq < $1 ORDER BY seq DESC LIMIT $2";

#[async_trait]
impl AccessStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(project = key.project))]
    async fn create_key_once(&self, key: NewKey, once: Once<'_>) -> Result<ApiKey> {
        let mut tx = self.write().await?;
        let row = sqlx::query(INSERT_KEY)
            .bind(new_id("key"))
            .bind(&key.name)
            .bind(key.role.name())
            .bind(&key.project)
            .bind(&key.prefix)
            .bind(&key.hash)
            .bind(&key.created_by)
            .bind(self.now())
            .fetch_one(&mut tx)
            .await?;
        let key = rows::api_key(&row)?;
        idempotency::note(&mut tx, self.now(), once, &key.id).await?;
        tx.commit().await?;
        Ok(key)
    }

    #[instrument(level = "debug", skip_all)]
    async fn keys(&self, page: &Page) -> Result<Listing<ApiKey>> {
        let list = || {
            let mut query = QueryBuilder::<Db>::new("SELECT * FROM api_keys WHERE true");
            push_page(&mut query, "id", page);
            query
        };
        let keys = self.listed(list).await?.iter().map(rows::api_key).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(keys, page.limit, |key| key.id.clone()))
    }

    #[instrument(level = "debug", skip_all, fields(key = id))]
    async fn revoke_key(&self, id: &str) -> Result<ApiKey> {
        let mut tx = self.write().await?;
        let row = sqlx::query(REVOKE).bind(self.now()).bind(id).fetch_optional(&mut tx).await?;
        let key = rows::api_key(&existing(row, "key", id)?)?;
        sqlx::query(FORGET_TICKETS).bind(id).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(key)
    }

    #[instrument(level = "debug", skip_all)]
    async fn append_audit(&self, entry: NewAudit) -> Result<AuditEntry> {
        let mut tx = self.write().await?;
        let row = sqlx::query(INSERT_AUDIT)
            .bind(self.now())
            .bind(&entry.key_id)
            .bind(&entry.project)
            .bind(entry.action)
            .bind(&entry.target)
            .bind(&entry.detail)
            .fetch_one(&mut tx)
            .await?;
        tx.commit().await?;
        rows::audit_entry(&row)
    }

    #[instrument(level = "debug", skip_all)]
    async fn audit(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>> {
        let entries = self.all(|| sqlx::query(AUDIT).bind(before).bind(i64::from(limit))).await?;
        entries.iter().map(rows::audit_entry).collect()
    }
}
