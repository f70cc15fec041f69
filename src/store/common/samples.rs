//! Sample rollouts.

use async_trait::async_trait;
use sqlx::QueryBuilder;
use tracing::instrument;

use crate::domain::page::{Listing, Page};
use crate::domain::sample::{SampleRecord, SampleStep};
use crate::store::error::Result;
use crate::store::rows;
use crate::store::traits::SampleStore;

use super::{Db, Row, SqlStore, existing};

const ONE: &str = "SELECT * FROM samples WHERE run_id = $1 AND id = $2";
const STEPS: &str = "SELECT step, count(*) AS n FROM samples WHERE run_id = $1 GROUP BY step ORDER BY step";

#[async_trait]
impl SampleStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(run = run_id, sample = id))]
    async fn sample(&self, run_id: &str, id: &str) -> Result<SampleRecord> {
        let row = self.optional(|| sqlx::query(ONE).bind(run_id).bind(id)).await?;
        rows::sample(&existing(row, "sample", id)?)
    }

    #[instrument(level = "debug", skip_all, fields(run = run_id))]
    async fn samples(&self, run_id: &str, step: Option<u64>, page: &Page) -> Result<Listing<SampleRecord>> {
        let list = || {
            let mut query = QueryBuilder::<Db>::new("SELECT * FROM samples WHERE run_id = ");
            query.push_bind(run_id);
            if let Some(step) = step {
                query.push(" AND step = ").push_bind(step as i64);
            }
            if let Some(after) = &page.after {
                query.push(" AND (step, id) > (SELECT step, id FROM samples WHERE id = ").push_bind(after).push(")");
            }
            query.push(" ORDER BY step, id LIMIT ").push_bind(i64::from(page.limit) + 1);
            query
        };
        let samples = self.listed(list).await?.iter().map(rows::sample).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(samples, page.limit, |s| s.id.clone()))
    }

    #[instrument(level = "debug", skip_all, fields(run = run_id))]
    async fn sample_steps(&self, run_id: &str) -> Result<Vec<SampleStep>> {
        let step = |row: &Row| Ok(SampleStep { step: rows::count(row, "step")?, groups: rows::count(row, "n")? });
        self.all(|| sqlx::query(STEPS).bind(run_id)).await?.iter().map(step).collect()
    }
}
