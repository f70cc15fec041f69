//! `Idempotency-Key` of creating calls.

use async_trait::async_trait;
use sqlx::Row as _;
use tracing::instrument;

use crate::store::error::{Result, StoreError};
use crate::store::millis;
use crate::store::traits::{IdempotencyRequest, IdempotencyState, IdempotencyStore, Once};

use super::{SqlStore, Write, locks};

/// Waits for another transaction that is inserting the same key.
const MARK: &str = "INSERT INTO idempotency (key, route, body_hash, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key, route) DO NOTHING";
const FIND: &str = "SELECT body_hash, status, body, target FROM idempotency WHERE key = $1 AND route = $2";
const FINISH: &str = "UPDATE idempotency SET status = $1, body = $2, expires_at = $3 \
    WHERE key = $4 AND route = $5 AND body_hash = $6 AND status IS NULL";
const FORGET: &str = "DELETE FROM idempotency WHERE key = $1 AND route = $2 AND body_hash = $3 AND status IS NULL \
    AND target IS NULL";
const NOTE: &str = "UPDATE idempotency SET target = $1, expires_at = $2 \
    WHERE key = $3 AND route = $4 AND body_hash = $5 AND status IS NULL AND target IS NULL";
const FREE: &str = "DELETE FROM idempotency WHERE target = $1 AND status IS NULL";

#[async_trait]
impl IdempotencyStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(route = request.route))]
    async fn begin_idempotent(&self, request: &IdempotencyRequest) -> Result<IdempotencyState> {
        let now = self.now();
        let mut tx = self.write().await?;
        sqlx::query(locks::EXPIRE_KEYS).bind(now).execute(&mut tx).await?;
        let marked = sqlx::query(MARK)
            .bind(&request.key)
            .bind(&request.route)
            .bind(&request.body_hash)
            .bind(now)
            .bind(now.saturating_add(millis(request.in_flight_for)))
            .execute(&mut tx)
            .await?;
        let row = sqlx::query(FIND).bind(&request.key).bind(&request.route).fetch_optional(&mut tx).await?;
        tx.commit().await?;
        if marked.rows_affected() == 1 {
            return Ok(IdempotencyState::New);
        }
        // Forgotten between the two statements: its sender may try again, and so may this one.
        let Some(row) = row else { return Ok(IdempotencyState::InFlight) };
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

    #[instrument(level = "debug", skip_all, fields(route = request.route))]
    async fn finish_idempotent(&self, request: &IdempotencyRequest, status: u16, body: &[u8]) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(FINISH)
            .bind(i64::from(status))
            .bind(body)
            .bind(self.now().saturating_add(millis(request.keep)))
            .bind(&request.key)
            .bind(&request.route)
            .bind(&request.body_hash)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    #[instrument(level = "debug", skip_all, fields(route = request.route))]
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
