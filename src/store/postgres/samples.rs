//! Sample rollouts.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder};

use crate::clock::new_id;
use crate::domain::event::{SamplesEvent, kind};
use crate::domain::job::LeaseToken;
use crate::domain::page::{Listing, Page};
use crate::domain::sample::{SampleGroup, SampleRecord, SampleStep};
use crate::store::change::{event_data, leased_event};
use crate::store::error::{Result, StoreError};
use crate::store::rows;
use crate::store::traits::SampleStore;

use super::{PostgresStore, events, guard};

const INSERT: &str = include_str!("sql/samples_insert.sql");
const ONE: &str = "SELECT * FROM samples WHERE run_id = $1 AND id = $2";
const STEPS: &str = "SELECT step, count(*) AS n FROM samples WHERE run_id = $1 GROUP BY step ORDER BY step";

#[async_trait]
impl SampleStore for PostgresStore {
    async fn append_samples(&self, token: &LeaseToken, step: u64, groups: &[SampleGroup]) -> Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let texts = groups.iter().map(rows::to_json).collect::<Result<Vec<_>>>()?;
        let ids: Vec<_> = groups.iter().map(|_| new_id("smp")).collect();
        let data = event_data(&SamplesEvent { step, groups: groups.len() as u64 })?;
        let now = self.now();
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        sqlx::query(INSERT)
            .bind(&token.run_id)
            .bind(step as i64)
            .bind(now)
            .bind(ids)
            .bind(texts)
            .execute(&mut tx)
            .await?;
        events::insert(&mut tx, now, &leased_event(token, kind::SAMPLES, data)).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn sample(&self, run_id: &str, id: &str) -> Result<SampleRecord> {
        let read = || async { Ok(sqlx::query(ONE).bind(run_id).bind(id).fetch_optional(&self.pool).await?) };
        let row = self.patiently(read).await?;
        rows::sample(&row.ok_or_else(|| StoreError::NotFound { kind: "sample", id: id.to_owned() })?)
    }

    async fn samples(&self, run_id: &str, step: Option<u64>, page: &Page) -> Result<Listing<SampleRecord>> {
        let read = || async {
            let mut query = QueryBuilder::<Postgres>::new("SELECT * FROM samples WHERE run_id = ");
            query.push_bind(run_id);
            if let Some(step) = step {
                query.push(" AND step = ").push_bind(step as i64);
            }
            if let Some(after) = &page.after {
                query.push(" AND (step, id) > (SELECT step, id FROM samples WHERE id = ").push_bind(after).push(")");
            }
            query.push(" ORDER BY step, id LIMIT ").push_bind(i64::from(page.limit) + 1);
            Ok(query.build().persistent(false).fetch_all(&self.pool).await?)
        };
        let samples = self.patiently(read).await?.iter().map(rows::sample).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(samples, page.limit, |s| s.id.clone()))
    }

    async fn sample_steps(&self, run_id: &str) -> Result<Vec<SampleStep>> {
        let step = |row: &PgRow| Ok(SampleStep { step: rows::count(row, "step")?, groups: rows::count(row, "n")? });
        let read = || async { Ok(sqlx::query(STEPS).bind(run_id).fetch_all(&self.pool).await?) };
        self.patiently(read).await?.iter().map(step).collect()
    }
}
