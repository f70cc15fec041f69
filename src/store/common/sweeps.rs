//! Sweeps.

use async_trait::async_trait;
use sqlx::QueryBuilder;
use tracing::instrument;

use crate::clock::new_id;
use crate::domain::job::{Job, NewJob};
use crate::domain::page::{Listing, Page};
use crate::domain::run::Run;
use crate::domain::sweep::{NewSweep, Sweep, SweepFilter, SweepPoint, SweepSettings};
use crate::store::error::Result;
use crate::store::filter::{push_equal, push_page};
use crate::store::json::to_json;
use crate::store::rows;
use crate::store::traits::{Once, SweepStore};

use super::jobs::insert_with_run;
use super::{Db, SqlStore, existing, idempotency};

const INSERT: &str = include_str!("../sql/sweep_insert.sql");
const SELECT_ONE: &str = "SELECT * FROM sweeps WHERE id = $1";
const DELETE: &str = "DELETE FROM sweeps WHERE id = $1 RETURNING id";
const RUNS: &str = concat!(include_str!("../sql/run_select.sql"), " WHERE jobs.sweep_id = $1 ORDER BY runs.id");

#[async_trait]
impl SweepStore for SqlStore {
    #[instrument(level = "debug", skip_all, fields(project = new.project))]
    async fn submit_sweep_once(
        &self,
        new: NewSweep,
        points: Vec<(NewJob, SweepSettings)>,
        once: Once<'_>,
    ) -> Result<(Sweep, Vec<Job>)> {
        let now = self.now();
        let mut tx = self.write().await?;
        let row = sqlx::query(INSERT)
            .bind(new_id("swp"))
            .bind(&new.name)
            .bind(&new.project)
            .bind(&new.created_by)
            .bind(to_json(&new.job)?)
            .bind(to_json(&new.grid)?)
            .bind(points.len() as i64)
            .bind(now)
            .fetch_one(&mut tx)
            .await?;
        let sweep = rows::sweep(&row)?;
        let mut jobs = Vec::with_capacity(points.len());
        for (job, settings) in points {
            let point = SweepPoint { id: sweep.id.clone(), settings };
            jobs.push(insert_with_run(&mut tx, now, &job, Some(&point)).await?.0);
        }
        idempotency::note(&mut tx, self.now(), once, &sweep.id).await?;
        tx.commit().await?;
        Ok((sweep, jobs))
    }

    #[instrument(level = "debug", skip_all, fields(sweep = id))]
    async fn sweep(&self, id: &str) -> Result<Sweep> {
        let row = self.optional(|| sqlx::query(SELECT_ONE).bind(id)).await?;
        rows::sweep(&existing(row, "sweep", id)?)
    }

    #[instrument(level = "debug", skip_all, fields(sweep = id))]
    async fn delete_sweep(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let row = sqlx::query(DELETE).bind(id).fetch_optional(&mut tx).await?;
        existing(row, "sweep", id)?;
        Ok(tx.commit().await?)
    }

    #[instrument(level = "debug", skip_all)]
    async fn sweeps(&self, filter: &SweepFilter, page: &Page) -> Result<Listing<Sweep>> {
        let list = || {
            let mut query = QueryBuilder::<Db>::new("SELECT * FROM sweeps WHERE true");
            push_equal(&mut query, "project", filter.project.as_deref());
            push_page(&mut query, "id", page);
            query
        };
        let sweeps = self.listed(list).await?.iter().map(rows::sweep).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(sweeps, page.limit, |s| s.id.clone()))
    }

    #[instrument(level = "debug", skip_all, fields(sweep = id))]
    async fn sweep_runs(&self, id: &str) -> Result<Vec<Run>> {
        self.all(|| sqlx::query(RUNS).bind(id)).await?.iter().map(rows::run).collect()
    }
}
