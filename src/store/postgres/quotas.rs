//! How much of a project may be at work, and how much it stores.

use async_trait::async_trait;
use sqlx::Row as _;

use crate::domain::access::{ProjectLoad, ProjectQuota};
use crate::store::error::Result;
use crate::store::rows;
use crate::store::traits::QuotaStore;

use super::{PostgresStore, Write};

const CLEAR: &str = "DELETE FROM project_quotas";
const INSERT: &str = "INSERT INTO project_quotas (project, running_jobs, gpus) VALUES ($1, $2, $3)";
const LOAD: &str = "SELECT \
    (SELECT count(*) FROM jobs WHERE project = $1 AND lease_worker IS NOT NULL) AS running, \
    (SELECT running_jobs FROM project_quotas WHERE project IN ($1, '*') ORDER BY project = '*' LIMIT 1) AS most, \
    (SELECT count(*) FROM jobs JOIN workers ON workers.id = jobs.lease_worker \
        WHERE project = $1 AND workers.device_class <> 'cpu') AS gpus, \
    (SELECT gpus FROM project_quotas WHERE project IN ($1, '*') ORDER BY project = '*' LIMIT 1) AS most_gpus";
const BYTES: &str = include_str!("sql/project_bytes.sql");
/// Takes the lock $2 only where there is something to count; tells on the same way whether leases are due at the time $1.
const COUNT_ALONE: &str = concat!(
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM project_quotas) THEN pg_advisory_xact_lock($2) IS NULL END AS alone, (",
    include_str!("../sql/leases_due.sql"),
    ") AS expired"
);
const LOCK: i64 = 22_089 << 48;

/// Begins a claim. Where projects have limits, one claim at a time counts and takes: two at once would both find the last place
/// free. Returns whether there are leases to note or to expire.
pub(super) async fn count_alone(tx: &mut Write, now: i64) -> Result<bool> {
    Ok(sqlx::query(COUNT_ALONE).bind(now).bind(LOCK).fetch_one(&mut *tx).await?.try_get("expired")?)
}

#[async_trait]
impl QuotaStore for PostgresStore {
    async fn set_quotas(&self, quotas: &[ProjectQuota]) -> Result<()> {
        let mut tx = self.write().await?;
        // Two servers that start at once: the second replaces what the first has written.
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut tx).await?;
        sqlx::query(CLEAR).execute(&mut tx).await?;
        for quota in quotas {
            let insert = sqlx::query(INSERT).bind(&quota.project).bind(quota.running_jobs.map(i64::from));
            insert.bind(quota.gpus.map(i64::from)).execute(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn project_load(&self, project: &str) -> Result<ProjectLoad> {
        let read = || async { Ok(sqlx::query(LOAD).bind(project).fetch_one(&self.pool).await?) };
        rows::project_load(&self.patiently(read).await?)
    }

    async fn project_bytes(&self, project: &str) -> Result<u64> {
        let read = || async { Ok(sqlx::query(BYTES).bind(project).fetch_one(&self.pool).await?) };
        rows::count(&self.patiently(read).await?, "bytes")
    }
}
