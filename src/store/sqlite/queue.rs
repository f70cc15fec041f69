//! The queue as workers see it.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;

use crate::domain::figures::LeaseLoss;
use crate::domain::job::{Job, LeaseToken, LeasedJob, Transition, Wanted};
use crate::domain::spec::{DeviceClass, SPEC_VERSION};
use crate::store::change::{Change, expiry_reason};
use crate::store::error::{Result, lease_lost};
use crate::store::rows;
use crate::store::traits::{ClaimRequest, Failure, QueueStore};
use crate::store::{millis, wanted};

use super::{SqliteStore, Write, figures, guard, transition};

const NEXT: &str = include_str!("sql/queue_next.sql");
const HAS_WORK: &str = include_str!("sql/queue_has_work.sql");
const LOOK: &str = include_str!("sql/leases_look.sql");
const DUE: &str = include_str!("../sql/leases_due.sql");
const EXPIRED: &str = include_str!("../sql/leases_expired.sql");
const TTL: &str = "UPDATE jobs SET lease_ttl = ? WHERE id = ?";
const HELD_BY: &str = "SELECT * FROM jobs WHERE lease_worker = ? ORDER BY id";
const CRASHED: &str = "UPDATE workers SET state = 'crashed', job_id = NULL WHERE id = ?";
const EXTEND: &str = "UPDATE jobs SET lease_expires_at = ?, lease_ttl = ? \
    WHERE id = ? AND attempt = ? AND lease_worker IS NOT NULL RETURNING state";

impl SqliteStore {
    /// Is there a lease to be noted or to be ended? A read: most looks find nothing.
    async fn leases_are_due(&self) -> Result<bool> {
        Ok(sqlx::query(DUE).bind(self.now()).fetch_one(&self.readers).await?.try_get("due")?)
    }
}

#[async_trait]
impl QueueStore for SqliteStore {
    async fn has_work(&self, device: DeviceClass) -> Result<bool> {
        let row = sqlx::query(HAS_WORK)
            .bind(rows::device_name(device))
            .bind(self.now())
            .bind(SPEC_VERSION)
            .fetch_one(&self.readers)
            .await?;
        Ok(row.try_get("has_work")? || self.leases_are_due().await?)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Option<LeasedJob>> {
        let now = self.now();
        let mut tx = self.write().await?;
        expire(&mut tx, now).await?;
        let mut leased = None;
        if let Some(job) = next(&mut tx, now, request).await? {
            let job = transition::settle_model(&mut tx, job).await?;
            let reason = format!("claimed by {}", request.worker_id);
            let mut change = Change::new(Transition::Claim, reason);
            change.lease = Some((&request.worker_id, now.saturating_add(millis(request.ttl))));
            change.attempts_used = Some(job.attempts_used + 1);
            let job = transition::apply(&mut tx, now, &job, &change).await?;
            sqlx::query(TTL).bind(millis(request.ttl)).bind(&job.id).execute(&mut tx).await?;
            let token = LeaseToken { job_id: job.id.clone(), run_id: job.run_id.clone(), attempt: job.attempt };
            leased = LeasedJob::new(job, token);
        }
        tx.commit().await?;
        Ok(leased)
    }

    async fn heartbeat(&self, token: &LeaseToken, ttl: Duration) -> Result<Wanted> {
        let expires = self.now().saturating_add(millis(ttl));
        let mut tx = self.write().await?;
        let row = sqlx::query(EXTEND)
            .bind(expires)
            .bind(millis(ttl))
            .bind(&token.job_id)
            .bind(i64::from(token.attempt))
            .fetch_optional(&mut tx)
            .await?;
        let state: String = row.ok_or_else(|| lease_lost(token))?.try_get("state")?;
        tx.commit().await?;
        Ok(wanted(&state))
    }

    async fn complete(&self, token: &LeaseToken, reason: &str) -> Result<Job> {
        let now = self.now();
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        let job = transition::load(&mut tx, &token.job_id).await?;
        let job = transition::apply(&mut tx, now, &job, &Change::new(Transition::Complete, reason)).await?;
        tx.commit().await?;
        Ok(job)
    }

    async fn fail(&self, token: &LeaseToken, failure: &Failure) -> Result<Job> {
        let now = self.now();
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        let job = transition::load(&mut tx, &token.job_id).await?;
        let change = match failure.retry_after {
            None => Change::new(Transition::Fail, &failure.message),
            Some(pause) => Change::put_back(&job, &failure.message, Some(now.saturating_add(millis(pause)))),
        };
        let job = transition::apply(&mut tx, now, &job, &change).await?;
        tx.commit().await?;
        Ok(job)
    }

    async fn release(&self, token: &LeaseToken, reason: &str) -> Result<Job> {
        let now = self.now();
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        let job = transition::load(&mut tx, &token.job_id).await?;
        let mut change = Change::new(Transition::Requeue, reason);
        change.attempts_used = Some(job.attempts_used.saturating_sub(1));
        let job = transition::apply(&mut tx, now, &job, &change).await?;
        tx.commit().await?;
        Ok(job)
    }

    async fn expire_leases(&self) -> Result<Vec<Job>> {
        if !self.leases_are_due().await? {
            return Ok(Vec::new());
        }
        let now = self.now();
        let mut tx = self.write().await?;
        let jobs = expire(&mut tx, now).await?;
        tx.commit().await?;
        Ok(jobs)
    }

    async fn release_worker(&self, worker_id: &str, reason: &str) -> Result<Vec<Job>> {
        let now = self.now();
        let mut tx = self.write().await?;
        sqlx::query(CRASHED).bind(worker_id).execute(&mut tx).await?;
        let mut jobs = Vec::new();
        for row in sqlx::query(HELD_BY).bind(worker_id).fetch_all(&mut tx).await? {
            let job = rows::job(&row)?;
            jobs.push(transition::apply(&mut tx, now, &job, &Change::put_back(&job, reason, None)).await?);
        }
        figures::count_lost(&mut tx, LeaseLoss::WorkerDied, jobs.len()).await?;
        tx.commit().await?;
        Ok(jobs)
    }
}

/// The next job whose settings can be read. One that a later program stored is of a later form; where that program did not say
/// so, it is passed over all the same: it must neither run nor keep the others from running.
async fn next(tx: &mut Write, now: i64, request: &ClaimRequest) -> Result<Option<Job>> {
    let mut passed = 0i64;
    loop {
        let row = sqlx::query(NEXT)
            .bind(rows::device_name(request.device))
            .bind(now)
            .bind(SPEC_VERSION)
            .bind(passed)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let job = rows::job(&row)?;
        if job.spec.known().is_some() {
            return Ok(Some(job));
        }
        passed += 1;
    }
}

async fn expire(tx: &mut Write, now: i64) -> Result<Vec<Job>> {
    sqlx::query(LOOK).bind(now).execute(&mut *tx).await?;
    let mut jobs = Vec::new();
    for row in sqlx::query(EXPIRED).bind(now).fetch_all(&mut *tx).await? {
        let job = rows::job(&row)?;
        let reason = expiry_reason(&job);
        jobs.push(transition::apply(tx, now, &job, &Change::put_back(&job, &reason, None)).await?);
    }
    figures::count_lost(tx, LeaseLoss::Expired, jobs.len()).await?;
    Ok(jobs)
}
