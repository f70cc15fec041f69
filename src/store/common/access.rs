//! API keys, tickets and the audit log.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{QueryBuilder, Row as _};

use crate::clock::new_id;
use crate::domain::access::{ApiKey, AuditEntry, NewAudit, NewKey, NewTicket, StoredKey, TicketKind};
use crate::domain::page::{Listing, Page};
use crate::store::error::Result;
use crate::store::filter::push_page;
use crate::store::traits::{AccessStore, Once};
use crate::store::{millis, rows};

use super::{Db, SqlStore, found, idempotency};

const INSERT_KEY: &str = "INSERT INTO api_keys (id, name, role, project, prefix, hash, created_by, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *";
const BY_PREFIX: &str = "SELECT * FROM api_keys WHERE prefix = $1";
const TOUCH: &str =
    "UPDATE api_keys SET last_used_at = $1 WHERE id = $2 AND (last_used_at IS NULL OR last_used_at <= $3)";
const REVOKE: &str = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $1) WHERE id = $2 RETURNING *";
const ANY: &str = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE revoked_at IS NULL) AS found";
const EVER: &str = "SELECT EXISTS (SELECT 1 FROM api_keys) AS found";
const OPEN: &str = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = $1 AND revoked_at IS NULL) AS found";
const FORGET_TICKETS: &str = "DELETE FROM tickets WHERE key_id = $1";
const FORGET_OLD: &str = "DELETE FROM tickets WHERE expires_at <= $1";
const INSERT_TICKET: &str =
    "INSERT INTO tickets (hash, kind, key_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
const TICKET: &str = "SELECT api_keys.* FROM tickets JOIN api_keys ON api_keys.id = tickets.key_id \
    WHERE tickets.hash = $1 AND tickets.kind = $2 AND tickets.expires_at > $3 AND api_keys.revoked_at IS NULL";
/// A second taker waits for the first, and then finds nothing.
const TAKE: &str = "DELETE FROM tickets WHERE hash = $1 RETURNING hash";
const INSERT_AUDIT: &str =
    "INSERT INTO audit (time, key_id, project, action, target, detail) VALUES ($1, $2, $3, $4, $5, $6) RETURNING *";
const AUDIT: &str = "SELECT * FROM audit WHERE $1 IS NULL OR seq < $1 ORDER BY seq DESC LIMIT $2";

#[async_trait]
impl AccessStore for SqlStore {
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

    async fn keys(&self, page: &Page) -> Result<Listing<ApiKey>> {
        let list = || {
            let mut query = QueryBuilder::<Db>::new("SELECT * FROM api_keys WHERE true");
            push_page(&mut query, "id", page);
            query
        };
        let keys = self.listed(list).await?.iter().map(rows::api_key).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(keys, page.limit, |key| key.id.clone()))
    }

    async fn key_by_prefix(&self, prefix: &str) -> Result<Option<StoredKey>> {
        let row = self.optional(|| sqlx::query(BY_PREFIX).bind(prefix)).await?;
        row.map(|row| Ok(StoredKey { key: rows::api_key(&row)?, hash: rows::text(&row, "hash")? })).transpose()
    }

    async fn touch_key(&self, id: &str, every: Duration) -> Result<()> {
        let now = self.now();
        let mut tx = self.write().await?;
        sqlx::query(TOUCH).bind(now).bind(id).bind(now - millis(every)).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn revoke_key(&self, id: &str) -> Result<ApiKey> {
        let mut tx = self.write().await?;
        let row = sqlx::query(REVOKE).bind(self.now()).bind(id).fetch_optional(&mut tx).await?;
        let key = rows::api_key(&found(row, "key", id)?)?;
        sqlx::query(FORGET_TICKETS).bind(id).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(key)
    }

    async fn has_keys(&self) -> Result<bool> {
        Ok(self.one(|| sqlx::query(ANY)).await?.try_get("found")?)
    }

    async fn had_keys(&self) -> Result<bool> {
        Ok(self.one(|| sqlx::query(EVER)).await?.try_get("found")?)
    }

    async fn is_open_key(&self, id: &str) -> Result<bool> {
        Ok(self.one(|| sqlx::query(OPEN).bind(id)).await?.try_get("found")?)
    }

    async fn issue_ticket(&self, ticket: NewTicket) -> Result<()> {
        let now = self.now();
        let mut tx = self.write().await?;
        sqlx::query(FORGET_OLD).bind(now).execute(&mut tx).await?;
        sqlx::query(INSERT_TICKET)
            .bind(&ticket.hash)
            .bind(ticket.kind.name())
            .bind(&ticket.key_id)
            .bind(now)
            .bind(ticket.expires_at.timestamp_millis())
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn ticket(&self, kind: TicketKind, hash: &str) -> Result<Option<ApiKey>> {
        let row = self.optional(|| sqlx::query(TICKET).bind(hash).bind(kind.name()).bind(self.now())).await?;
        row.as_ref().map(rows::api_key).transpose()
    }

    async fn take_ticket(&self, kind: TicketKind, hash: &str) -> Result<Option<ApiKey>> {
        let mut tx = self.write().await?;
        let query = sqlx::query(TICKET).bind(hash).bind(kind.name()).bind(self.now());
        let Some(row) = query.fetch_optional(&mut tx).await? else { return Ok(None) };
        let taken = sqlx::query(TAKE).bind(hash).fetch_optional(&mut tx).await?;
        tx.commit().await?;
        taken.map(|_| rows::api_key(&row)).transpose()
    }

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

    async fn audit(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>> {
        let found = self.all(|| sqlx::query(AUDIT).bind(before).bind(i64::from(limit))).await?;
        found.iter().map(rows::audit_entry).collect()
    }
}
