//! `Idempotency-Key` of creating calls.

use async_trait::async_trait;
use sqlx::Row as _;

use crate::store::error::Result;
use crate::store::millis;
use crate::store::traits::{IdempotencyRequest, IdempotencyState, IdempotencyStore};

use super::SqliteStore;

const EXPIRE: &str = "DELETE FROM idempotency WHERE expires_at <= ?";
const FIND: &str = "SELECT body_hash, status, body FROM idempotency WHERE key = ? AND route = ?";
const MARK: &str = "INSERT INTO idempotency (key, route, body_hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?)";
const FINISH: &str = "UPDATE idempotency SET status = ?, body = ?, expires_at = ? \
    WHERE key = ? AND route = ? AND body_hash = ? AND status IS NULL";
const FORGET: &str = "DELETE FROM idempotency WHERE key = ? AND route = ? AND body_hash = ? AND status IS NULL";

#[async_trait]
impl IdempotencyStore for SqliteStore {
    async fn begin_idempotent(&self, request: &IdempotencyRequest) -> Result<IdempotencyState> {
        let now = self.now();
        let mut tx = self.write().await?;
        sqlx::query(EXPIRE).bind(now).execute(&mut *tx).await?;
        let row = sqlx::query(FIND).bind(&request.key).bind(&request.route).fetch_optional(&mut *tx).await?;
        let Some(row) = row else {
            sqlx::query(MARK)
                .bind(&request.key)
                .bind(&request.route)
                .bind(&request.body_hash)
                .bind(now)
                .bind(now.saturating_add(millis(request.in_flight_for)))
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            return Ok(IdempotencyState::New);
        };
        tx.commit().await?;
        if row.try_get::<&str, _>("body_hash")? != request.body_hash {
            return Ok(IdempotencyState::OtherBody);
        }
        Ok(match row.try_get::<Option<i64>, _>("status")? {
            None => IdempotencyState::InFlight,
            Some(status) => {
                let body: Option<Vec<u8>> = row.try_get("body")?;
                IdempotencyState::Done { status: status as u16, body: body.unwrap_or_default() }
            }
        })
    }

    async fn finish_idempotent(&self, request: &IdempotencyRequest, status: u16, body: &[u8]) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(FINISH)
            .bind(i64::from(status))
            .bind(body.to_vec())
            .bind(self.now().saturating_add(millis(request.keep)))
            .bind(&request.key)
            .bind(&request.route)
            .bind(&request.body_hash)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn forget_idempotent(&self, request: &IdempotencyRequest) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(FORGET).bind(&request.key).bind(&request.route).bind(&request.body_hash).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}
