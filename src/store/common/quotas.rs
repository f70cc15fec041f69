//! How many jobs and GPUs of a project may run, and how much it stores.

use async_trait::async_trait;
use tracing::instrument;

use crate::domain::access::ProjectLoad;
use crate::store::error::Result;
use crate::store::rows;
use crate::store::traits::QuotaStore;

use super::SqlStore;

const LOAD: &str = "SELECT \
    (SELECT count(*) FROM jobs WHERE project = $1 AND lease_worker IS NOT NULL) AS running, \
    (SELECT running_jobs FROM project_quotas WHERE project IN ($1, '*') ORDER BY project = '*' LIMIT 1) AS most, \
    (SELECT count(*) FROM jobs JOIN workers ON workers.id = jobs.lease_worker \
        WHERE project = $1 AND workers.device_class <> 'cpu') AS gpus, \
    (SELECT gpus FROM project_quotas WHERE project IN ($1, '*') ORDER BY project = '*' LIMIT 1) AS most_gpus";
const BYTES: &str = include_str!("../sql/project_bytes.sql");

#[async_trait]
impl QuotaStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(project = project))]
    async fn project_load(&self, project: &str) -> Result<ProjectLoad> {
        rows::project_load(&self.one(|| sqlx::query(LOAD).bind(project)).await?)
    }

    #[instrument(level = "debug", skip_all, fields(project = project))]
    async fn project_bytes(&self, project: &str) -> Result<u64> {
        rows::count(&self.one(|| sqlx::query(BYTES).bind(project)).await?, "bytes")
    }
}
