//! Who comes in: keys, and the tickets that they are exchanged for.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use tracing::instrument;

use crate::domain::access::{ApiKey, NewTicket, StoredKey, TicketKind};
use crate::store::error::Result;
use crate::store::traits::DoorStore;
use crate::store::{millis, rows};

use super::SqlStore;

const BY_PREFIX: &str = "SELECT * FROM api_keys WHERE prefix = $1";
const TOUCH: &str =
    "UPDATE api_keys SET last_used_at = $1 WHERE id = $2 AND (last_used_at IS NULL OR last_used_at <= $3)";
const ANY: &str = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE revoked_at IS NULL) AS answer";
const EVER: &str = "SELECT EXISTS (SELECT 1 FROM api_keys) AS answer";
const OPEN: &str = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = $1 AND revoked_at IS NULL) AS answer";
const FORGET_OLD: &str = "DELETE FROM tickets WHERE expires_at <= $1";
const INSERT_TICKET: &str =
    "INSERT INTO tickets (hash, kind, key_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
const TICKET: &str = "SELECT api_keys.* FROM tickets JOIN api_keys ON api_keys.id = tickets.key_id \
    WHERE tickets.hash = $1 AND tickets.kind = $2 AND tickets.expires_at > $3 AND api_keys.revoked_at IS NULL";
/// A second taker waits for the first, and then finds nothing.
const TAKE: &str = "DELETE FROM tickets WHERE hash = $1 RETURNING hash";

#[async_trait]
impl DoorStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(prefix = prefix))]
    async fn key_by_prefix(&self, prefix: &str) -> Result<Option<StoredKey>> {
        let row = self.optional(|| sqlx::query(BY_PREFIX).bind(prefix)).await?;
        row.map(|row| Ok(StoredKey { key: rows::api_key(&row)?, hash: rows::text(&row, "hash")? })).transpose()
    }

    #[instrument(level = "debug", skip_all, fields(key = id))]
    async fn touch_key(&self, id: &str, every: Duration) -> Result<()> {
        let now = self.now();
        let mut tx = self.write().await?;
        sqlx::query(TOUCH).bind(now).bind(id).bind(now - millis(every)).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all)]
    async fn has_keys(&self) -> Result<bool> {
        Ok(self.one(|| sqlx::query(ANY)).await?.try_get("answer")?)
    }

    #[instrument(level = "debug", skip_all)]
    async fn had_keys(&self) -> Result<bool> {
        Ok(self.one(|| sqlx::query(EVER)).await?.try_get("answer")?)
    }

    #[instrument(level = "debug", skip_all, fields(key = id))]
    async fn is_open_key(&self, id: &str) -> Result<bool> {
        Ok(self.one(|| sqlx::query(OPEN).bind(id)).await?.try_get("answer")?)
    }

    #[instrument(level = "debug", skip_all)]
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

    #[instrument(level = "debug", skip_all)]
    async fn ticket(&self, kind: TicketKind, hash: &str) -> Result<Option<ApiKey>> {
        let row = self.optional(|| sqlx::query(TICKET).bind(hash).bind(kind.name()).bind(self.now())).await?;
        row.as_ref().map(rows::api_key).transpose()
    }

    #[instrument(level = "debug", skip_all)]
    async fn take_ticket(&self, kind: TicketKind, hash: &str) -> Result<Option<ApiKey>> {
        let mut tx = self.write().await?;
        let query = sqlx::query(TICKET).bind(hash).bind(kind.name()).bind(self.now());
        let Some(row) = query.fetch_optional(&mut tx).await? else { return Ok(None) };
        let taken = sqlx::query(TAKE).bind(hash).fetch_optional(&mut tx).await?;
        tx.commit().await?;
        taken.map(|_| rows::api_key(&row)).transpose()
    }
}
