//! `Idempotency-Key` of creating calls.

use async_trait::async_trait;
use sqlx::Row as _;

use crate::store::error::{Result, StoreError};
use crate::store::millis;
use crate::store::traits::{IdempotencyRequest, IdempotencyState, IdempotencyStore, Once};

use super::{SqliteStore, Write};

const EXPIRE: &str = "DELETE FROM idempotency WHERE expires_at <= ?";
const FIND: &str = "SELECT body_hash, status, body, target FROM idempotency WHERE key = ? AND route = ?";
const MARK: &str = "INSERT INTO idempotency (key, route, body_hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?)";
const FINISH: &str = "UPDATE idempotency SET status = ?, body = ?, expires_at = ? \
    WHERE key = ? AND route = ? AND body_hash = ? AND status IS NULL";
const FORGET: &str = "DELETE FROM idempotency WHERE key = ? AND route = ? AND body_hash = ? AND status IS NULL \
    AND target IS NULL";
const NOTE: &str = "UPDATE idempotency SET target = ?, expires_at = ? \
    WHERE key = ? AND route = ? AND body_hash = ? AND status IS NULL AND target IS NULL";
const FREE: &str = "DELETE FROM idempotency WHERE target = ? AND status IS NULL";

#[async_trait]
impl IdempotencyStore for SqliteStore {
    async fn begin_idempotent(&self, request: &IdempotencyRequest) -> Result<IdempotencyState> {
        let now = self.now();
        let mut tx = self.write().await?;
        sqlx::query(EXPIRE).bind(now).execute(&mut tx).await?;
        let row = sqlx::query(FIND).bind(&request.key).bind(&request.route).fetch_optional(&mut tx).await?;
        let Some(row) = row else {
            sqlx::query(MARK)
                .bind(&request.key)
                .bind(&request.route)
                .bind(&request.body_hash)
                .bind(now)
                .bind(now.saturating_add(millis(request.in_flight_for)))
                .execute(&mut tx)
                .await?;
            tx.commit().await?;
            return Ok(IdempotencyState::New);
        };
        tx.commit().await?;
        if row.try_get::<&str, _>("body_hash")? != request.body_hash {
            return Ok(IdempotencyState::OtherBody);
        }
        Ok(match row.try_get::<Option<i64>, _>("status")? {
            None => match row.try_get::<Option<String>, _>("target")? {
                Some(target) => IdempotencyState::Made { target },
                None => IdempotencyState::InFlight,
            },
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
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn forget_idempotent(&self, request: &IdempotencyRequest) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(FORGET).bind(&request.key).bind(&request.route).bind(&request.body_hash).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Notes what a request has made, inside the transaction that makes it.
pub(super) async fn note(tx: &mut Write, now: i64, once: Once<'_>, target: &str) -> Result<()> {
    let Some(request) = once else { return Ok(()) };
    let noted = sqlx::query(NOTE)
        .bind(target)
        .bind(now.saturating_add(millis(request.keep)))
        .bind(&request.key)
        .bind(&request.route)
        .bind(&request.body_hash)
        .execute(&mut *tx)
        .await?;
    if noted.rows_affected() == 1 {
        return Ok(());
    }
    let problem = "the request took so long that its Idempotency-Key was free again; nothing was made, send it again";
    Err(StoreError::Conflict(problem.to_owned()))
}

/// What a request has made is gone, or did not become what it was to be: the request may come again.
pub(super) async fn free(tx: &mut Write, target: &str) -> Result<()> {
    sqlx::query(FREE).bind(target).execute(&mut *tx).await?;
    Ok(())
}
