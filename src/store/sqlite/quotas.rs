//! How many jobs of a project may be at work.

use async_trait::async_trait;
use sqlx::Row as _;

use crate::domain::access::{ProjectLoad, ProjectQuota};
use crate::store::error::Result;
use crate::store::traits::QuotaStore;

use super::SqliteStore;

const CLEAR: &str = "DELETE FROM project_quotas";
const INSERT: &str = "INSERT INTO project_quotas (project, running_jobs) VALUES (?, ?)";
const LOAD: &str = "SELECT \
    (SELECT count(*) FROM jobs WHERE project = ?1 AND lease_worker IS NOT NULL) AS running, \
    (SELECT running_jobs FROM project_quotas WHERE project IN (?1, '*') ORDER BY project = '*' LIMIT 1) AS most";

#[async_trait]
impl QuotaStore for SqliteStore {
    async fn set_quotas(&self, quotas: &[ProjectQuota]) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(CLEAR).execute(&mut *tx).await?;
        for quota in quotas {
            sqlx::query(INSERT).bind(&quota.project).bind(quota.running_jobs.map(i64::from)).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn project_load(&self, project: &str) -> Result<ProjectLoad> {
        let row = sqlx::query(LOAD).bind(project).fetch_one(&self.readers).await?;
        let (running, most): (i64, Option<i64>) = (row.try_get("running")?, row.try_get("most")?);
        Ok(ProjectLoad { running: running as u64, most: most.map(|most| most as u64) })
    }
}
