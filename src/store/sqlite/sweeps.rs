//! Sweeps.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite};

use crate::clock::new_id;
use crate::domain::job::{Job, NewJob};
use crate::domain::page::{Listing, Page};
use crate::domain::run::Run;
use crate::domain::sweep::{NewSweep, Sweep, SweepFilter, SweepPoint, SweepSettings};
use crate::store::error::{Result, StoreError};
use crate::store::filter::{push_equal, push_page};
use crate::store::rows;
use crate::store::traits::{Once, SweepStore};

use super::jobs::insert_with_run;
use super::{SqliteStore, idempotency};

const INSERT: &str = include_str!("sql/sweep_insert.sql");
const RUNS: &str = concat!(include_str!("sql/run_select.sql"), " WHERE jobs.sweep_id = ? ORDER BY runs.id");

#[async_trait]
impl SweepStore for SqliteStore {
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
            .bind(rows::to_json(&new.job)?)
            .bind(rows::to_json(&new.grid)?)
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

    async fn sweep(&self, id: &str) -> Result<Sweep> {
        let row = sqlx::query("SELECT * FROM sweeps WHERE id = ?").bind(id).fetch_optional(&self.readers).await?;
        rows::sweep(&row.ok_or_else(|| StoreError::NotFound { kind: "sweep", id: id.to_owned() })?)
    }

    async fn sweeps(&self, filter: &SweepFilter, page: &Page) -> Result<Listing<Sweep>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM sweeps WHERE true");
        push_equal(&mut query, "project", filter.project.as_deref());
        push_page(&mut query, "id", page);
        let found = query.build().persistent(false).fetch_all(&self.readers).await?;
        let sweeps = found.iter().map(rows::sweep).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(sweeps, page.limit, |s| s.id.clone()))
    }

    async fn sweep_runs(&self, id: &str) -> Result<Vec<Run>> {
        sqlx::query(RUNS).bind(id).fetch_all(&self.readers).await?.iter().map(rows::run).collect()
    }
}
