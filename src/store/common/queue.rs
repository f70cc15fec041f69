//! The queue as workers see it.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use tracing::instrument;

use crate::domain::figures::LeaseLoss;
use crate::domain::job::{Job, LONGEST_RETRY_PAUSE, LeaseToken, LeasedJob, Transition, Wanted};
use crate::domain::spec::{DeviceClass, SPEC_VERSION};
use crate::store::change::{Change, expiry_reason};
use crate::store::error::{Result, lease_lost};
use crate::store::leases::HeldLease;
use crate::store::rows;
use crate::store::traits::{ClaimRequest, Failure, QueueStore};
use crate::store::{millis, wanted};

use super::transition::{apply, load_held, settle_model};
use super::{Row, SqlStore, Write, figures, locks};

const HAS_WORK: &str = include_str!("../sql/queue_has_work.sql");
const LEASES_HELD: &str = include_str!("../sql/leases_held.sql");
const TTL: &str = "UPDATE jobs SET lease_ttl = $1 WHERE id = $2";
const CRASHED: &str = "UPDATE workers SET state = 'crashed', job_id = NULL WHERE id = $1";
const EXTEND: &str = "UPDATE jobs SET lease_expires_at = $1, lease_ttl = $4 \
    WHERE id = $2 AND attempt = $3 AND lease_worker IS NOT NULL RETURNING state";

/// A lease of which the database does not say how long it holds: an earlier program took it.
const USUAL_TTL: i64 = 30_000;

impl SqlStore {
    /// Looks at every lease. Was one of them not extended for its whole time? A read: most looks find nothing.
    async fn leases_are_overdue(&self) -> Result<bool> {
        let rows = self.all(|| sqlx::query(LEASES_HELD)).await?;
        let held = rows.iter().map(held_lease).collect::<Result<_>>()?;
        Ok(self.leases.look(self.clock.instant(), held))
    }

    /// Ends the leases that the last look found overdue.
    pub(in super::super) async fn end_overdue_leases(&self) -> Result<Vec<Job>> {
        let overdue = self.leases.overdue();
        if overdue.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now();
        let mut tx = self.write().await?;
        let jobs = end_leases(&mut tx, now, &overdue).await?;
        tx.commit().await?;
        Ok(jobs)
    }
}

fn held_lease(row: &Row) -> Result<HeldLease> {
    let ttl: Option<i64> = row.try_get("lease_ttl")?;
    Ok(HeldLease {
        job_id: row.try_get("id")?,
        attempt: row.try_get("attempt")?,
        expires_at: row.try_get("lease_expires_at")?,
        ttl: Duration::from_millis(ttl.unwrap_or(USUAL_TTL).unsigned_abs()),
    })
}

#[async_trait]
impl QueueStore for SqlStore {
    #[instrument(level = "debug", skip_all)]
    async fn has_work(&self, device: DeviceClass, ranks: u32) -> Result<bool> {
        let now = self.now();
        let read = || {
            let device = rows::device_name(device);
            let query = sqlx::query(HAS_WORK).bind(device).bind(now).bind(SPEC_VERSION).bind(longest_wait(now));
            query.bind(i64::from(ranks))
        };
        if self.leases.is_due(self.clock.instant()) && self.leases_are_overdue().await? {
            return Ok(true);
        }
        Ok(self.one(read).await?.try_get("has_work")?)
    }

    #[instrument(level = "debug", skip_all, fields(worker = request.worker_id))]
    async fn claim(&self, request: &ClaimRequest) -> Result<Option<LeasedJob>> {
        self.end_overdue_leases().await?;
        self.claim_next(request).await
    }

    #[instrument(level = "debug", skip_all, fields(job = token.job_id, run = token.run_id, attempt = token.attempt))]
    async fn heartbeat(&self, token: &LeaseToken, ttl: Duration) -> Result<Wanted> {
        let expires = self.now().saturating_add(millis(ttl));
        // It may be repeated: a beat that arrived twice changes nothing.
        let beat =
            || sqlx::query(EXTEND).bind(expires).bind(&token.job_id).bind(i64::from(token.attempt)).bind(millis(ttl));
        let row = self.write_once(beat).await?.pop().ok_or_else(|| lease_lost(token))?;
        Ok(wanted(row.try_get("state")?))
    }

    #[instrument(level = "debug", skip_all, fields(job = token.job_id, run = token.run_id, attempt = token.attempt))]
    async fn complete(&self, token: &LeaseToken, reason: &str) -> Result<Job> {
        let now = self.now();
        let mut tx = self.write().await?;
        let job = load_held(&mut tx, token).await?;
        let job = apply(&mut tx, now, &job, &Change::new(Transition::Complete, reason)).await?;
        tx.commit().await?;
        Ok(job)
    }

    #[instrument(level = "debug", skip_all, fields(job = token.job_id, run = token.run_id, attempt = token.attempt))]
    async fn fail(&self, token: &LeaseToken, failure: &Failure) -> Result<Job> {
        let now = self.now();
        let mut tx = self.write().await?;
        let job = load_held(&mut tx, token).await?;
        let change = match failure.retry_after {
            None => Change::new(Transition::Fail, &failure.message),
            Some(pause) => {
                Change::put_back(&job, &failure.message, Some(longest_wait(now).min(now.saturating_add(millis(pause)))))
            }
        };
        let job = apply(&mut tx, now, &job, &change).await?;
        tx.commit().await?;
        Ok(job)
    }

    #[instrument(level = "debug", skip_all, fields(job = token.job_id, run = token.run_id, attempt = token.attempt))]
    async fn release(&self, token: &LeaseToken, reason: &str) -> Result<Job> {
        let now = self.now();
        let mut tx = self.write().await?;
        let job = load_held(&mut tx, token).await?;
        let mut change = Change::new(Transition::Requeue, reason);
        change.attempts_used = Some(job.attempts_used.saturating_sub(1));
        let job = apply(&mut tx, now, &job, &change).await?;
        tx.commit().await?;
        Ok(job)
    }

    #[instrument(level = "debug", skip_all)]
    async fn expire_leases(&self) -> Result<Vec<Job>> {
        if !self.leases_are_overdue().await? {
            return Ok(Vec::new());
        }
        self.end_overdue_leases().await
    }

    #[instrument(level = "debug", skip_all, fields(worker = worker_id))]
    async fn release_worker(&self, worker_id: &str, reason: &str) -> Result<Vec<Job>> {
        let now = self.now();
        let mut tx = self.write().await?;
        let mut jobs = Vec::new();
        for row in sqlx::query(locks::JOBS_OF_WORKER).bind(worker_id).fetch_all(&mut tx).await? {
            let job = rows::job(&row)?;
            jobs.push(apply(&mut tx, now, &job, &Change::put_back(&job, reason, None)).await?);
        }
        figures::count_lost(&mut tx, LeaseLoss::WorkerDied, jobs.len()).await?;
        sqlx::query(CRASHED).bind(worker_id).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(jobs)
    }
}

/// Takes the next job, if there is one.
pub(in super::super) async fn take_next(tx: &mut Write, now: i64, request: &ClaimRequest) -> Result<Option<LeasedJob>> {
    let Some(job) = next(tx, now, request).await? else { return Ok(None) };
    let job = settle_model(tx, job).await?;
    let mut change = Change::new(Transition::Claim, format!("claimed by {}", request.worker_id));
    change.lease = Some((&request.worker_id, now.saturating_add(millis(request.ttl))));
    change.attempts_used = Some(job.attempts_used + 1);
    let job = apply(tx, now, &job, &change).await?;
    sqlx::query(TTL).bind(millis(request.ttl)).bind(&job.id).execute(&mut *tx).await?;
    let token = LeaseToken { job_id: job.id.clone(), run_id: job.run_id.clone(), attempt: job.attempt };
    Ok(LeasedJob::new(job, token))
}

/// The next job whose settings can be read. One that a later program stored is of a later form; where that program
/// did not say so, it is passed over all the same: it must neither run nor keep the others from running.
async fn next(tx: &mut Write, now: i64, request: &ClaimRequest) -> Result<Option<Job>> {
    let mut passed = 0i64;
    loop {
        let row = sqlx::query(locks::NEXT_JOB)
            .bind(rows::device_name(request.device))
            .bind(now)
            .bind(SPEC_VERSION)
            .bind(passed)
            .bind(longest_wait(now))
            .bind(i64::from(request.ranks))
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

/// Until when the next attempt of a job waits at most.
pub(in super::super) fn longest_wait(now: i64) -> i64 {
    now.saturating_add(millis(LONGEST_RETRY_PAUSE))
}

/// Ends these leases, each where it has not been extended in the meantime.
async fn end_leases(tx: &mut Write, now: i64, overdue: &[HeldLease]) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for lease in overdue {
        let unchanged =
            sqlx::query(locks::LEASE_OVERDUE).bind(&lease.job_id).bind(lease.attempt).bind(lease.expires_at);
        let Some(row) = unchanged.fetch_optional(&mut *tx).await? else { continue };
        let job = rows::job(&row)?;
        let reason = expiry_reason(&job);
        jobs.push(apply(tx, now, &job, &Change::put_back(&job, &reason, None)).await?);
    }
    figures::count_lost(tx, LeaseLoss::Expired, jobs.len()).await?;
    Ok(jobs)
}
