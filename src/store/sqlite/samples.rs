//! Sample rollouts.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use crate::clock::new_id;
use crate::domain::event::{SamplesEvent, kind};
use crate::domain::job::LeaseToken;
use crate::domain::page::{Listing, Page};
use crate::domain::sample::{SampleGroup, SampleRecord, SampleStep};
use crate::store::change::{event_data, leased_event};
use crate::store::error::{Result, StoreError};
use crate::store::rows;
use crate::store::traits::SampleStore;

use super::{SqliteStore, events, guard};

const INSERT: &str = "INSERT INTO samples (id, run_id, step, data, created_at) VALUES (?, ?, ?, ?, ?)";
const ONE: &str = "SELECT * FROM samples WHERE run_id = ? AND id = ?";
const STEPS: &str = "SELECT step, count(*) AS n FROM samples WHERE run_id = ? GROUP BY step ORDER BY step";

#[async_trait]
impl SampleStore for SqliteStore {
    async fn append_samples(&self, token: &LeaseToken, step: u64, groups: &[SampleGroup]) -> Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let texts = groups.iter().map(rows::to_json).collect::<Result<Vec<_>>>()?;
        let now = self.now();
        let mut tx = self.write().await?;
        guard(&mut tx, token).await?;
        for text in texts {
            sqlx::query(INSERT)
                .bind(new_id("smp"))
                .bind(&token.run_id)
                .bind(step as i64)
                .bind(text)
                .bind(now)
                .execute(&mut tx)
                .await?;
        }
        let data = event_data(&SamplesEvent { step, groups: groups.len() as u64 })?;
        let event = leased_event(token, kind::SAMPLES, data);
        events::insert(&mut tx, now, &event).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn sample(&self, run_id: &str, id: &str) -> Result<SampleRecord> {
        let row = sqlx::query(ONE).bind(run_id).bind(id).fetch_optional(&self.readers).await?;
        rows::sample(&row.ok_or_else(|| StoreError::NotFound { kind: "sample", id: id.to_owned() })?)
    }

    async fn samples(&self, run_id: &str, step: Option<u64>, page: &Page) -> Result<Listing<SampleRecord>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM samples WHERE run_id = ");
        query.push_bind(run_id.to_owned());
        if let Some(step) = step {
            query.push(" AND step = ").push_bind(step as i64);
        }
        if let Some(after) = &page.after {
            query
                .push(" AND (step, id) > (SELECT step, id FROM samples WHERE id = ")
                .push_bind(after.clone())
                .push(")");
        }
        query.push(" ORDER BY step, id LIMIT ").push_bind(i64::from(page.limit) + 1);
        let found = query.build().persistent(false).fetch_all(&self.readers).await?;
        let samples = found.iter().map(rows::sample).collect::<Result<Vec<_>>>()?;
        Ok(Listing::from_overfull(samples, page.limit, |s| s.id.clone()))
    }

    async fn sample_steps(&self, run_id: &str) -> Result<Vec<SampleStep>> {
        let step = |row: &SqliteRow| Ok(SampleStep { step: rows::count(row, "step")?, groups: rows::count(row, "n")? });
        sqlx::query(STEPS).bind(run_id).fetch_all(&self.readers).await?.iter().map(step).collect()
    }
}
